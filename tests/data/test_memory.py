"""Limits of jobs and containers, in folders that look like /proc and /sys/fs/cgroup."""

import sys

import pytest

from deepchest_cli.data.memory import free_main_memory

GB = 10**9
MEMINFO = f"MemTotal: {512 * GB // 1024} kB\nMemAvailable: {400 * GB // 1024} kB\n"
V2 = "35 24 0:30 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = (
    "30 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "31 24 0:29 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)
STEP = "/system.slice/slurmstepd.scope/job_7/step_0"


@pytest.fixture
def machine(tmp_path):
    """A function that writes files of a machine with 400 GB free, and returns its root."""

    def write(group, mounts, groups, memory=MEMINFO):
        files = {"proc/self/cgroup": group, "proc/self/mountinfo": mounts, "proc/meminfo": memory}
        for folder, given in groups.items():
            for name, text in given.items():
                files[f"sys/fs/cgroup/{folder}/{name}"] = text
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def v2(limit, usage, active=0, inactive=0, high="max"):
    return {
        "memory.max": f"{limit}\n",
        "memory.high": f"{high}\n",
        "memory.current": f"{usage}\n",
        "memory.stat": f"anon 5\nfile 9\nactive_file {active}\ninactive_file {inactive}\n",
    }


def v1(limit, usage, active=0, inactive=0):
    return {
        "memory.limit_in_bytes": f"{limit}\n",
        "memory.usage_in_bytes": f"{usage}\n",
        "memory.stat": f"cache 1\ntotal_active_file {active}\ntotal_inactive_file {inactive}\n",
    }


def test_a_machine_without_limits_has_what_it_says(machine):
    root = machine("0::/user.slice\n", V2.format(root="/"), {"user.slice": v2("max", GB)})
    assert free_main_memory(root) == 400 * GB // 1024 * 1024


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_limit_of_any_group_above_counts(machine, depth):
    """Slurm limits the job, of which the step's own group says `max`."""
    parts = STEP.strip("/").split("/")
    groups = {"/".join(parts[:n]): v2(16 * GB if n == depth else "max", GB) for n in (1, 2, 3, 4)}
    assert free_main_memory(machine(f"0::{STEP}\n", V2.format(root="/"), groups)) == 15 * GB


def test_the_least_of_several_limits_counts(machine):
    groups = {"a": v2(64 * GB, 60 * GB), "a/b": v2(16 * GB, 2 * GB)}
    assert free_main_memory(machine("0::/a/b\n", V2.format(root="/"), groups)) == 4 * GB


def test_pages_that_only_cache_files_are_free(machine):
    groups = {"job": v2(16 * GB, 15 * GB, active=3 * GB, inactive=9 * GB)}
    assert free_main_memory(machine("0::/job\n", V2.format(root="/"), groups)) == 13 * GB


def test_a_limit_at_which_a_group_is_slowed_down_counts(machine):
    groups = {"job": v2(16 * GB, GB, high=8 * GB)}
    assert free_main_memory(machine("0::/job\n", V2.format(root="/"), groups)) == 7 * GB


def test_a_group_that_has_taken_more_than_its_limit_has_nothing_left(machine):
    assert free_main_memory(machine("0::/j\n", V2.format(root="/"), {"j": v2(GB, 2 * GB)})) == 0


@pytest.mark.parametrize("path", ["/", "/../../pod7"])
def test_a_container_that_sees_its_own_group_alone(machine, path):
    """Kubernetes and Docker: the limit stands in the folder that is mounted."""
    mounts = V2.format(root=path)
    assert free_main_memory(machine(f"0::{path}\n", mounts, {".": v2(8 * GB, GB)})) == 7 * GB


@pytest.mark.parametrize("mounted", ["/", "/docker/3f"])
def test_the_first_version_of_control_groups(machine, mounted):
    """Without a limit it says a number that no machine has; a container's mount is its own."""
    folder = "memory/docker/3f" if mounted == "/" else "memory"
    groups = {"memory": v1(2**63 - 4096, 90 * GB), folder: v1(16 * GB, 10 * GB, GB, 2 * GB)}
    group = "9:name=systemd:/\n4:cpu,memory:/docker/3f\n3:cpuset:/\n0::/\n"
    assert free_main_memory(machine(group, V1.format(root=mounted), groups)) == 9 * GB


def test_a_machine_that_says_nothing(tmp_path):
    assert free_main_memory(tmp_path) is None


def test_groups_whose_files_are_not_there_or_not_readable_are_passed_over(machine):
    broken = {"memory.max": "many\n", "memory.current": "1\n"}
    root = machine("0::/a/b\n", V2.format(root="/"), {"a": v2(9 * GB, GB), "a/b": broken})
    assert free_main_memory(root) == 8 * GB


@pytest.mark.skipif(sys.platform != "linux", reason="not Linux")
def test_this_machine_says_something():
    found = free_main_memory()
    assert found is not None
    assert 0 < found < 2**50

"""Comparisons that are killed at a write, or interrupted by a signal to all their processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from killing import KilledError, assert_equal_comparisons, killed_at, same_results
from tests_support import replaced, valid

FLAGS = (
    "--weighters", "deepchest", "--seeds", "1", "--backbone", "small_cnn", "--batch-size", "16",
    "--epochs", "1", "--learning-rate", "1e-3", "--bootstrap-replicates", "100",
    "--cost-rounds", "2", "--resume", "auto",
)  # fmt: skip


def results_in(folder):
    return valid(json.loads((folder / "results.json").read_text()), "compare-weighters")


def test_a_comparison_killed_repeatedly_ends_as_an_undisturbed_one(deepchest, shards, tmp_path):
    def compare(data, out, *more):
        return deepchest("compare-weighters", "--data", data, "--out", out, *FLAGS, *more)

    undisturbed = compare(shards, tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.err
    out, kills = tmp_path / "killed", 0
    for write in range(8, 100, 4):  # later each time: what does not depend on files begins anew
        try:
            with killed_at(write):
                ended = compare(shards, out)
            break
        except KilledError:
            kills += 1
    assert ended.code == 0
    assert kills >= 3
    assert_equal_comparisons(out, tmp_path / "undisturbed")
    assert same_results(results_in(out), results_in(tmp_path / "undisturbed"))
    assert not list(out.rglob(".*"))
    copy = shutil.copytree(shards, tmp_path / "moved")
    again = compare(copy, out, "--json")
    assert again.code == 0
    assert f"{out} has finished: nothing is left to train." in again.err
    assert json.loads(again.out)["data"]["data_sets"][0]["folder"] == str(copy)


@pytest.mark.usefixtures("signals_arrive")
def test_an_interruption_ends_all_parallel_runs(shards, tmp_path):
    out = tmp_path / "c"
    words = ("--devices", "cpu,cpu", "--weighters", "dwa", "--epochs", "10000", "--patience", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "deepchest_cli", "compare-weighters", "--data", shards, "--out", out,
         *replaced(FLAGS, words)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    begun = [out / "runs" / name / "seed-0.attempt-1" / "metrics.csv" for name in ("equal", "dwa")]
    try:
        wait_until(lambda: all(path.is_file() for path in begun), process)
        os.killpg(process.pid, signal.SIGUSR1)  # as a batch system warns: all processes
        _, said = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGUSR1
    assert f"deepchest compare-weighters --resume {out}" in said
    assert "Traceback" not in said
    assert len(list(out.rglob("last.pt"))) == 2  # both can go on
    assert not list(out.rglob("run.json"))


def wait_until(condition, process):
    """Wait for a process to do something; it must not end before."""
    deadline = time.monotonic() + 600
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)

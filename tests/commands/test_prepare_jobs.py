"""`deepchest prepare --plan`, `--job N` and `--dask`, as a user runs them."""

import json
import signal
import subprocess
import sys

import pytest
from tests_support import next_step, valid


@pytest.fixture
def flags(nih_folder, tmp_path):
    """A preparation of 80 images in three shards of 32, the smallest there are."""
    return ("prepare", "--source", nih_folder, "--data", tmp_path / "out", "--size", 1024)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_plan_jobs_and_publish(deepchest, flags, tmp_path):
    planned = deepchest(*flags, "--plan", "--jobs", 2)
    assert planned.code == 0, planned.err
    lines = planned.out.splitlines()
    assert lines[0] == "2 jobs of about 40 images:"
    assert lines[1] == f"  {tmp_path / 'out'}: 3 shards"
    command = " ".join(map(str, ("deepchest", *flags)))
    assert lines[3] == f"  {command} --job N" and lines[5] == f"  {command}"
    assert next_step(planned.err) == [*map(str, ("deepchest", *flags)), "--job", "1"]
    assert "Planned before: nothing was changed." in deepchest(*flags, "--plan").err
    for number, images in ((2, 16), (1, 64)):
        done = deepchest(*flags, "--job", number)
        assert done.code == 0, done.err
        following = ["--job", "2"] if number == 1 else []  # then the data are published
        assert next_step(done.err) == [*map(str, ("deepchest", *flags)), *following]
        shards = "1 shard" if number == 2 else "2 shards"
        assert done.out == f"Job {number} of 2 is complete: {images} images in {shards}.\n"
    assert deepchest(*flags, "--job", 1).out == "Job 1 of 2 was complete already.\n"
    published = deepchest(*flags)
    assert published.code == 0 and "Not complete" not in published.err
    undisturbed = (*flags[:4], tmp_path / "one", *flags[5:])
    assert deepchest(*undisturbed).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "one")
    assert "prepared already" in deepchest(*flags, "--job", 1).out
    assert "prepared already" in deepchest(*flags, "--plan").out


def test_each_gives_one_valid_document(deepchest, flags):
    planned = deepchest(*flags, "--plan", "--json")
    document = valid(json.loads(planned.out), "prepare")
    assert document["jobs"] == 1 and document["images"] == 80
    assert document["job_command"].endswith(" --job N")
    done = deepchest(*flags, "--job", 1, "--json")
    assert valid(json.loads(done.out), "prepare")["unreadable"] == 0


def test_a_job_allows_what_cannot_be_read_and_says_so(deepchest, flags, nih_folder):
    (nih_folder / "images" / "00000001_000.png").write_text("not an image")
    assert deepchest(*flags, "--plan").code == 0
    done = deepchest(*flags, "--job", 1)
    assert done.code == 0
    assert "Warning: 1 image of them could not be read; prepare without --job lists" in done.err
    refused = deepchest(*flags)
    assert refused.code == 1 and "00000001_000.png" in refused.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--job", "1"], "has no plan of jobs"),
        (["--jobs", "3"], "Add --plan."),
        (["--plan", "--job", "1"], "--plan and --job exclude each other."),
        (["--plan", "--check"], "--plan and --check exclude each other."),
        (["--job", "1", "--dry-run"], "--job and --dry-run exclude each other."),
        (["--dask", "local:2", "--plan"], "--plan and --dask exclude each other."),
        (["--job", "1", "--force"], "Give it to --plan"),
        (["--demo", "--plan"], "--source data/demo"),
        (["--plan", "--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_use_is_said(deepchest, flags, tmp_path, arguments, message):
    outcome = deepchest(*flags, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not (tmp_path / "out").exists()


# `deepchest` that receives a signal when a job has its first shard: SIGNAL ARGUMENTS
SIGNALED = """
import signal, sys
from deepchest_cli.app import main
from deepchest_cli.data.preparation.job_plan import JobFile
number, save = int(sys.argv.pop(1)), JobFile.save
def save_first(self, *arguments, **options):
    save(self, *arguments, **options)
    JobFile.save = save
    signal.raise_signal(number)
JobFile.save = save_first
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_job_with_what_is_done_kept(deepchest, flags, tmp_path, number):
    assert deepchest(*flags, "--plan").code == 0
    command = [sys.executable, "-c", SIGNALED, str(int(number)), *map(str, flags), "--job", "1"]
    done = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, check=False)
    assert done.returncode == 128 + number, done.stderr
    assert "finished shards are kept" in done.stderr
    first = tmp_path / "out" / "preparation-job-00001.json"
    entries = json.loads(first.read_text())["shards"]
    assert 1 <= len(entries) < 3 and not json.loads(first.read_text())["complete"]
    written = (tmp_path / "out" / entries[0]["file"]).stat().st_mtime_ns
    assert deepchest(*flags, "--job", 1).code == 0
    assert (tmp_path / "out" / entries[0]["file"]).stat().st_mtime_ns == written


def test_workers_of_dask_give_the_bytes_of_one_process(deepchest, flags, tmp_path):
    pytest.importorskip("distributed")
    done = deepchest(*flags, "--jobs", 2, "--dask", "local:2", "--json")
    assert done.code == 0, done.err
    assert "Not complete" not in done.err  # the workers have done all
    valid(json.loads(done.out), "prepare")
    assert deepchest(*flags[:4], tmp_path / "one", *flags[5:]).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def test_an_address_without_a_scheduler_is_refused_before_anything_is_written(
    deepchest, flags, tmp_path, monkeypatch
):
    pytest.importorskip("distributed")
    monkeypatch.setattr("deepchest_cli.engines.dask_connection.CONNECT_SECONDS", 0.5)
    outcome = deepchest(*flags, "--dask", "127.0.0.1:9")
    assert outcome.code == 2
    assert "no Dask scheduler answers there" in outcome.err
    assert not (tmp_path / "out").exists()

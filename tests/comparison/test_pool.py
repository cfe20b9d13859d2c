"""Jobs on several devices, in real processes, with work that is quick and fails at will."""

import os
import signal
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from deepchest_cli.comparison.running import pool
from deepchest_cli.comparison.running.jobs import Arm, Job
from deepchest_cli.comparison.running.run import RECORD, RunRecord
from deepchest_cli.config import TrainConfig
from deepchest_cli.engines.child import KilledWorkerError, Worker
from deepchest_cli.errors import LostDeviceError
from deepchest_cli.files import write_json


def work(job, device, folders, processes, share_done):
    """Do what the name of the job's arm says, and leave a record as a run does."""
    record = RunRecord("finished", "", 0.1, "", device=device, notes=(str(os.getpid()),))
    what = job.arm.label
    share_done.value = 0.5
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    failed = what in ("fails", f"breaks {device}") or what.startswith("breaks all")
    record = replace(record, status="failed" if failed else "finished")
    write_json(job.folder / RECORD, asdict(record))
    if failed and what != "fails":
        raise LostDeviceError(f"{device} has failed: ECC.", "hint")
    return record


@pytest.fixture
def run_all(tmp_path, monkeypatch):
    """Run jobs by the names of their arms; return records by name, devices left and warnings."""
    monkeypatch.setattr(pool, "_work", work)

    def run(names, devices):
        jobs = [Job(Arm(name, name), TrainConfig(), tmp_path / name) for name in names]
        for job in jobs:
            job.folder.mkdir()
        left, warnings, ended = list(devices), [], []
        with closing(pool.Pool(jobs, (), left, warnings.append)) as running:
            while running.has_work:
                ended += running.advance()
                assert 0 <= running.share_done <= len(devices)
        assert len(ended) == len(names)
        return {job.arm.label: record for job, record in ended}, left, warnings

    return run


def test_a_job_whose_device_fails_goes_on_elsewhere(run_all):
    records, left, warnings = run_all(["a", "breaks two", "b", "c"], ["one", "two"])
    assert {record.status for record in records.values()} == {"finished"}
    assert records["breaks two"].device == "one"
    assert left == ["one"]
    assert len(warnings) == 1
    assert warnings[0] == (
        "breaks two, seed 0: two has failed: ECC. two is not used any more, and the run goes on on "
        "another device."
    )


def test_a_job_that_breaks_two_devices_has_failed_and_the_others_go_on(run_all):
    records, left, warnings = run_all(["breaks all", "b", "c"], ["one", "two", "three"])
    assert records["breaks all"].status == "failed"
    assert "has failed: ECC." in records["breaks all"].error
    assert {records[name].status for name in "bc"} == {"finished"}
    assert len(left) == 1
    assert "counts as failed" in warnings[1]


def test_a_device_of_several_processes_is_one_device(run_all):
    records, left, warnings = run_all(["breaks one", "b"], ["one", "one", "two"])
    assert {record.status for record in records.values()} == {"finished"}
    assert records["breaks one"].device == "two"
    assert "two" in left
    assert not any("counts as failed" in text for text in warnings)
    assert warnings[0] == (
        "breaks one, seed 0: one has failed: ECC. one is used by one process less, and the run "
        "goes on in another process."
    )


def test_an_answer_that_nobody_reads_ends_its_process_without_a_word(tmp_path, capfd):
    job = Job(Arm("a", "a"), TrainConfig(), tmp_path)
    worker = Worker(work, "one", (), 1, pool.CONTEXT.RawValue("d"))
    worker.submit(job)
    worker.end(busy=True)
    assert (tmp_path / RECORD).is_file()
    assert worker.process.exitcode == 0
    assert capfd.readouterr().err == ""


def test_without_a_device_the_rest_has_to_wait(run_all):
    with pytest.raises(LostDeviceError, match="No other device is left"):
        run_all([f"breaks all {n}" for n in range(3)], ["one", "two"])


def test_a_failed_run_costs_its_process_alone(run_all):
    records, left, _ = run_all(["fails", "b", "c"], ["one"])
    processes = [records[name].notes for name in ("fails", "b", "c")]
    assert processes[0] != processes[1] == processes[2]
    assert left == ["one"]


def test_a_killed_process_is_named_with_what_killed_it(run_all):
    with pytest.raises(KilledWorkerError, match="SIGKILL"):
        run_all(["killed", "b"], ["one", "two"])

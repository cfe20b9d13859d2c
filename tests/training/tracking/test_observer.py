"""The observer of the trackers: what it adds to a record, and what failures do."""

import errno
import json
import shutil
from dataclasses import dataclass
from threading import Event

import pytest
from tests_support import QUICK, rows_of
from waiting import wait_for

from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.training.tracking import observer
from deepchest_cli.training.tracking.base import Destinations
from deepchest_cli.training.tracking.observer import Tracking, closing

MEASURED = ("seconds", "images_per_second", "data_wait_fraction", "peak_memory")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run of two epochs."""
    return shutil.copytree(trained, tmp_path / "run")


class Warnings(list):
    def tracking(self, folder, *names):
        return Tracking(folder, names or ["memory"], Destinations(), warn=self.append)


@pytest.fixture
def warnings():
    return Warnings()


def epochs_of(record):
    return [step for step, _ in record["metrics"]]


def finish(tracking, outcome="finished"):
    tracking.close(outcome)


@dataclass
class Report:
    epoch: int


def test_a_run_is_logged_from_its_folder_once(run, memory, warnings):
    finish(warnings.tracking(run))
    record = memory.only()
    assert epochs_of(record) == [1, 2]
    assert record["subject"].name == "run"
    assert record["subject"].config["batch_size"] == 16
    assert record["files"][:2] == ["best.pt", "config.toml"]
    assert record["outcomes"] == ["finished"]
    assert warnings == []
    finish(warnings.tracking(run))  # the same run tracked again
    assert memory.only() is record
    assert epochs_of(record) == [1, 2]
    assert memory.opened == ["run"]


def test_a_resumed_run_goes_on_in_its_record(run, memory, warnings):
    table = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(table[:2]))
    weights = (run / "weights.csv").read_text().splitlines(keepends=True)
    (run / "weights.csv").write_text("".join(weights[:2]))
    finish(warnings.tracking(run), "interrupted")
    assert epochs_of(memory.only()) == [1]
    assert memory.only()["files"] == []
    (run / "metrics.csv").write_text("".join(table))
    (run / "weights.csv").write_text("".join(weights))
    finish(warnings.tracking(run))
    assert epochs_of(memory.only()) == [1, 2]
    assert memory.only()["outcomes"] == ["interrupted", "finished"]
    assert "best.pt" in memory.only()["files"]


def test_no_epoch_is_logged_before_it_is_reported(run, memory, warnings):
    """Its weights may not be in their table yet."""
    tracking = warnings.tracking(run)
    tracking.on_epoch(Report(1))
    wait_for(lambda: memory.stores["here"] and memory.only()["metrics"])
    assert epochs_of(memory.only()) == [1]
    finish(tracking, "interrupted")
    assert epochs_of(memory.only()) == [1, 2]


def test_a_record_in_another_store_is_begun_from_the_start(run, memory, warnings):
    finish(warnings.tracking(run))
    memory.place_now = "elsewhere"
    finish(warnings.tracking(run))
    assert epochs_of(memory.only()) == [1, 2]
    assert json.loads((run / "tracking.json").read_text())["memory"]["place"] == "elsewhere"


def test_a_record_that_was_removed_is_begun_from_the_start(run, memory, warnings):
    finish(warnings.tracking(run), "interrupted")
    memory.stores["here"].clear()
    finish(warnings.tracking(run))
    assert epochs_of(memory.only()) == [1, 2]


def test_a_damaged_file_of_records_is_no_obstacle(run, memory, warnings):
    (run / "tracking.json").write_text("{")
    finish(warnings.tracking(run))
    assert epochs_of(memory.only()) == [1, 2]


def test_a_tracker_given_twice_is_one(run, memory, warnings):
    finish(warnings.tracking(run, "memory", "memory"))
    assert epochs_of(memory.only()) == [1, 2]


def test_a_full_disk_is_said_once_and_what_is_missing_comes_later(run, memory, warnings):
    tried = []

    def fail(what):
        if what == "metrics":
            tried.append(what)
            if len(tried) < 3:
                raise OSError(errno.ENOSPC, "No space left on device")

    memory.fail = staticmethod(fail)
    tracking = warnings.tracking(run)
    tracking.on_epoch(Report(1))
    wait_for(lambda: len(tried) == 1)
    tracking.on_epoch(Report(2))
    wait_for(lambda: len(tried) == 2)
    finish(tracking)
    assert len(warnings) == 1
    assert "Memory has failed: No space left on device." in warnings[0]
    assert epochs_of(memory.only()) == [1, 2]


def test_a_full_disk_under_the_run_itself_is_survived(run, memory, warnings, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(observer, "write_records", full)
    finish(warnings.tracking(run))
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]


@pytest.mark.parametrize("what", ["metrics", "files", "close"])
def test_what_a_tracker_missed_is_added_on_resume(run, memory, warnings, what):
    def fail(step):
        if step == what:
            raise RuntimeError("the server is gone\nand more of it")

    memory.fail = staticmethod(fail)
    finish(warnings.tracking(run))
    assert len(warnings) == 1
    assert "Memory has failed: the server is gone. The run goes on" in warnings[0]
    memory.fail = staticmethod(lambda step: None)
    finish(warnings.tracking(run))
    assert epochs_of(memory.only()) == [1, 2]
    assert memory.only()["files"].count("best.pt") == 1
    assert len(warnings) == 1


def test_a_tracker_that_never_answers_is_left_behind(run, memory, warnings, monkeypatch):
    monkeypatch.setattr(observer, "WAIT", {"finished": 0.05})
    answer = Event()
    memory.fail = staticmethod(lambda what: answer.wait() and None)
    tracking = warnings.tracking(run)
    finish(tracking)
    (said,) = warnings
    assert said.startswith("Memory has failed: it does not answer. ")
    answer.set()
    tracking.logs[0].thread.join()


def test_one_tracker_does_not_wait_for_another(run, memory, warnings, monkeypatch):
    from trackers import Memory

    class Slow(Memory):
        title = "Slow"
        answer = Event()

        def log_metrics(self, step, metrics):
            assert self.answer.wait(600)

    monkeypatch.setitem(observer.TRACKERS, "slow", Slow)
    tracking = warnings.tracking(run, "slow", "memory")
    tracking.on_epoch(Report(2))
    wait_for(lambda: any(record["metrics"] for record in memory.stores["here"].values()))
    Slow.answer.set()
    finish(tracking)
    assert warnings == []


def test_a_tracker_that_fails_at_the_start_is_an_error(run, memory, warnings):
    def fail(what):
        raise RuntimeError("no such experiment")

    memory.fail = staticmethod(fail)
    with pytest.raises(DeepChestError, match=r"^Memory cannot begin a record: no such") as error:
        warnings.tracking(run).open()
    assert error.value.hint == "Mend that, or go on without --track memory."


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(InterruptedRunError("", "", 130), "interrupted"), (ValueError("x"), "failed")],
)
def test_the_record_says_how_a_run_has_ended(run, memory, warnings, error, outcome):
    with pytest.raises(type(error)), closing(warnings.tracking(run)) as tracking:
        tracking.open()
        raise error
    assert memory.only()["outcomes"] == [outcome]


def test_a_tracked_run_has_the_same_results_as_another(shards, trained, tmp_path, memory, warnings):
    from deepchest_cli.config import TrainConfig
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run

    def fail(what):
        if what == "metrics":
            raise OSError(errno.ENOSPC, "No space left on device")

    memory.fail = staticmethod(fail)
    config = TrainConfig(data=(str(shards),), out=tmp_path / "run", **QUICK)
    components, folder = build_components(config), create_run(config)
    with closing(warnings.tracking(folder)) as tracking:
        tracking.open()
        Trainer(components, folder, tracking).fit()
    assert len(warnings) == 1
    rows = [rows_of(one / "metrics.csv") for one in (folder, trained)]
    for ours, theirs in zip(*rows, strict=True):
        same = [column for column in ours if column not in MEASURED]
        assert [ours[column] for column in same] == [theirs[column] for column in same]

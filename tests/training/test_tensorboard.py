"""What TensorBoard would show of a run, read back with its own reader."""

import sys
from dataclasses import replace

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.progress import EpochReport, StepReport
from deepchest_cli.training.tensorboard import TensorBoardLog

NAN = float("nan")
FINDINGS = ("Mass", "Hernia")


def epoch_report(epoch, weights=(1.1, 0.95)):
    return EpochReport(
        epoch=epoch,
        epochs=3,
        training={"loss": torch.tensor([0.25, 0.5])},
        validation={
            "loss": torch.tensor([0.5, 1.0]),
            "auroc": torch.tensor([0.5 + epoch / 8, NAN], dtype=torch.float64),
        },
        task_loss=torch.tensor([0.25, 0.5]),
        task_auroc=torch.tensor([0.5 + epoch / 8, NAN], dtype=torch.float64),
        weights=None if weights is None else torch.tensor(weights),
        score=0.5 + epoch / 8,
        best=True,
        seconds=4.0,
        images_per_second=80.0 + epoch,
        data_wait_fraction=0.1,
        peak_memory=None,
    )


def scalars_in(folder):
    """Return what was logged: tag -> [(epoch, value), ...]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    # files of the same second are read in the order of their names, not of their numbers
    in_order = {
        tag: sorted(events.Scalars(tag), key=lambda event: event.step)
        for tag in events.Tags()["scalars"]
    }
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in found]
        for tag, found in in_order.items()
    }


@pytest.fixture
def log(tmp_path):
    log = TensorBoardLog(tmp_path, FINDINGS, FINDINGS)
    yield log
    log.close()


def test_an_epoch_is_on_disk_before_the_log_is_closed(log, tmp_path):
    log.on_epoch(epoch_report(1))
    assert scalars_in(tmp_path) == {
        "training/loss": [(1, 0.375)],
        "validation/loss": [(1, 0.75)],
        "validation/auroc": [(1, 0.625)],
        "score": [(1, 0.625)],
        "auroc/Mass": [(1, 0.625)],
        "weight/Mass": [(1, 1.1)],
        "weight/Hernia": [(1, 0.95)],
        "images_per_second": [(1, 81.0)],
    }


def test_undefined_values_are_left_out_until_they_are_defined(log, tmp_path):
    log.on_epoch(epoch_report(1))
    report = epoch_report(2)
    report.validation["auroc"] = torch.tensor([NAN, 0.75])
    log.on_epoch(report)
    scalars = scalars_in(tmp_path)
    assert scalars["auroc/Mass"] == [(1, 0.625)]
    assert scalars["auroc/Hernia"] == [(2, 0.75)]
    assert scalars["validation/auroc"] == [(1, 0.625), (2, 0.75)]


def test_methods_without_weights_log_none(log, tmp_path):
    log.on_epoch(epoch_report(1, weights=None))
    assert not [tag for tag in scalars_in(tmp_path) if tag.startswith("weight")]


def test_data_sets_and_their_tasks_are_logged_by_name(tmp_path):
    tasks = ("Mass (a)", "Mass (b)", "Hernia (a)")
    metrics = {"loss": torch.tensor([0.5, NAN]), "auroc": torch.tensor([0.75, NAN])}
    other = {"loss": torch.tensor([0.25, 0.75]), "auroc": torch.tensor([0.5, 0.75])}
    report = replace(epoch_report(1, (1.1, 0.9, 1.2)), sources={"a": other, "b": metrics})
    log = TensorBoardLog(tmp_path, FINDINGS, tasks)
    log.on_epoch(report)
    log.close()
    scalars = scalars_in(tmp_path)
    assert {tag: scalars[tag] for tag in scalars if tag.startswith("validation_")} == {
        "validation_loss/a": [(1, 0.5)],
        "validation_loss/b": [(1, 0.5)],
        "validation_auroc/a": [(1, 0.625)],
        "validation_auroc/b": [(1, 0.75)],
    }
    weights = {tag: value for tag, value in scalars.items() if tag.startswith("weight/")}
    assert weights == {
        "weight/Mass (a)": [(1, 1.1)],
        "weight/Mass (b)": [(1, 0.9)],
        "weight/Hernia (a)": [(1, 1.2)],
    }


def test_a_resumed_run_goes_on_in_the_same_folder(tmp_path):
    for epochs in ((1, 2), (3,)):
        log = TensorBoardLog(tmp_path, FINDINGS, FINDINGS)
        for epoch in epochs:
            log.on_epoch(epoch_report(epoch))
        log.close()
    assert scalars_in(tmp_path)["validation/auroc"] == [(1, 0.625), (2, 0.75), (3, 0.875)]


def test_steps_and_notes_log_nothing(log, tmp_path):
    weights = torch.ones(2)
    log.on_step(StepReport(1, 3, 1, 10, 29, losses=torch.ones(2), weights=weights))
    log.on_note("a note")
    log.close()
    assert scalars_in(tmp_path) == {}


def test_a_whole_run_is_logged(shards, tmp_path):
    from tests_support import QUICK, rows_of

    from deepchest_cli.config import TrainConfig
    from deepchest_cli.training.components import build_components
    from deepchest_cli.training.loop import Trainer
    from deepchest_cli.training.run_directory import create_run

    config = TrainConfig(data=(str(shards),), out=tmp_path / "run", **QUICK)
    setup, folder = build_components(config), create_run(config)
    log = TensorBoardLog(folder, setup.dataset.findings, setup.tasks.names)
    Trainer(setup, folder, log).fit()
    log.close()
    scalars = scalars_in(folder)
    for column in ("training_loss", "validation_loss", "validation_auroc"):
        logged = [value for _, value in scalars[column.replace("_", "/")]]
        assert [float(row[column]) for row in rows_of(folder / "metrics.csv")] == logged


def test_a_missing_tensorboard_is_said_before_anything_is_written(monkeypatch, tmp_path):
    for name in list(sys.modules):
        if name.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"^TensorBoard is not installed\.$") as error:
        TensorBoardLog(tmp_path, FINDINGS, FINDINGS)
    assert error.value.hint == install_hint("tensorboard")
    assert list(tmp_path.iterdir()) == []

"""What TensorBoard would show of a run, read back with its own reader."""

import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from tests_support import rows_of

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.tracking.base import Destinations, Subject
from deepchest_cli.training.tracking.observer import Tracking
from deepchest_cli.training.tracking.records import Record
from deepchest_cli.training.tracking.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


def events_in(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def scalars_in(folder):
    """Return what was logged: tag -> [(epoch, value), ...]."""
    events = events_in(folder)
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def begin(folder, record=None):
    return TensorBoard(Subject("run", folder, {"seed": 3}), Destinations(), record)


def test_metrics_are_on_disk_before_the_log_is_closed(tmp_path):
    log = begin(tmp_path)
    log.log_metrics(1, {"validation/auroc": 0.625, "weight/Mass": 1.1})
    assert scalars_in(tmp_path) == {"validation/auroc": [(1, 0.625)], "weight/Mass": [(1, 1.1)]}
    log.close("finished")


def test_a_resumed_run_replaces_what_came_after_its_last_epoch(tmp_path):
    first = begin(tmp_path)
    for epoch in (1, 2):
        first.log_metrics(epoch, {"score": epoch / 8})
    first.close("interrupted")
    second = begin(tmp_path, Record(first.identifier, step=1))
    for epoch in (2, 3):
        second.log_metrics(epoch, {"score": epoch / 4})
    second.close("finished")
    assert scalars_in(tmp_path) == {"score": [(1, 0.125), (2, 0.5), (3, 0.75)]}


def test_settings_texts_and_plots_are_there(tmp_path):
    Image.fromarray(np.full((4, 6), 200, np.uint8)).save(tmp_path / "metrics.png")
    (tmp_path / "best.pt").touch()
    log = begin(tmp_path)
    log.log_texts({"verdict/dwa": "inconclusive"})
    log.log_files(2, [tmp_path / "best.pt", tmp_path / "metrics.png"])
    log.close("finished")
    events = events_in(tmp_path)
    found = {tag: events.Tensors(tag)[0] for tag in events.Tags()["tensors"]}
    texts = {tag: event.tensor_proto.string_val[0] for tag, event in found.items()}
    assert b"| seed | `3` |" in texts["configuration/text_summary"]
    assert texts["verdict/dwa/text_summary"] == b"inconclusive"
    (image,) = events.Images("plots/metrics")
    assert (image.step, image.width, image.height) == (2, 6, 4)
    assert events.Tags()["images"] == ["plots/metrics"]


def test_a_whole_run_is_logged(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    Tracking(run, ["tensorboard"], Destinations()).close("finished")
    scalars = scalars_in(run)
    for column in ("training_loss", "validation_loss", "validation_auroc"):
        logged = [value for _, value in scalars[column.replace("_", "/")]]
        assert [float(row[column]) for row in rows_of(run / "metrics.csv")] == logged


def test_a_missing_tensorboard_is_said(monkeypatch):
    for name in list(sys.modules):
        if name.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UsageError, match=r"^TensorBoard is not installed") as error:
        TensorBoard.check(Destinations())
    assert error.value.hint == install_hint("tensorboard")

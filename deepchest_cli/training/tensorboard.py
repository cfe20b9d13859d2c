"""The metrics of a run for TensorBoard."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.progress import EpochReport, Observer, mean

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EVENTS = "tensorboard"


def find_writer() -> type["SummaryWriter"]:
    """Return TensorBoard's writer; raises `UsageError` when it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed.", install_hint("tensorboard")) from error
    return SummaryWriter


class TensorBoardLog(Observer):
    """An observer that logs every epoch under the run's folder; a resumed run goes on there.

    Undefined values are not logged, and no steps: reading their losses would wait for the device.
    Raises `UsageError` when TensorBoard is not installed.
    """

    def __init__(self, folder: Path, findings: Sequence[str], tasks: Sequence[str]) -> None:
        self.findings = findings
        self.tasks = tasks
        self.writer = find_writer()(folder / EVENTS)

    def on_epoch(self, report: EpochReport) -> None:
        """Log an epoch and write it to disk."""
        for split, metrics in (("training", report.training), ("validation", report.validation)):
            scalars = ((f"{split}/{metric}", report.macro(split, metric)) for metric in metrics)
            self._add(scalars, report.epoch)
        for name, metrics in report.sources.items():
            by_source = ((f"validation_{m}/{name}", mean(metrics[m])) for m in ("loss", "auroc"))
            self._add(by_source, report.epoch)
        self._add([("score", report.score)], report.epoch)
        self._add(_each("auroc", self.findings, report.validation["auroc"]), report.epoch)
        if report.weights is not None:
            self._add(_each("weight", self.tasks, report.weights), report.epoch)
        self._add([("images_per_second", report.images_per_second)], report.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.writer.close()

    def _add(self, scalars: Iterable[tuple[str, float]], epoch: int) -> None:
        for tag, value in scalars:
            if math.isfinite(value):
                self.writer.add_scalar(tag, value, epoch)


def _each(group: str, names: Sequence[str], values: Tensor) -> list[tuple[str, float]]:
    return [(f"{group}/{name}", value) for name, value in zip(names, values.tolist(), strict=True)]

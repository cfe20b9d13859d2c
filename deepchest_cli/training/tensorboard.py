"""The metrics of a run for TensorBoard."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.training.progress import EpochReport, Observer

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

    def __init__(self, folder: Path, findings: Sequence[str]) -> None:
        self.findings = findings
        self.writer = find_writer()(folder / EVENTS)

    def on_epoch(self, report: EpochReport) -> None:
        """Log an epoch and write it to disk."""
        for split, metrics in (("training", report.training), ("validation", report.validation)):
            scalars = ((f"{split}/{metric}", report.macro(split, metric)) for metric in metrics)
            self._add(scalars, report.epoch)
        if "auroc" in report.validation:
            self._add(self._each("auroc", report.validation["auroc"]), report.epoch)
        if report.weights is not None:
            self._add(self._each("weight", report.weights), report.epoch)
        self._add([("images_per_second", report.images_per_second)], report.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self.writer.close()

    def _each(self, group: str, values: Tensor) -> list[tuple[str, float]]:
        pairs = zip(self.findings, values.tolist(), strict=True)
        return [(f"{group}/{finding}", value) for finding, value in pairs]

    def _add(self, scalars: Iterable[tuple[str, float]], epoch: int) -> None:
        for tag, value in scalars:
            if math.isfinite(value):
                self.writer.add_scalar(tag, value, epoch)

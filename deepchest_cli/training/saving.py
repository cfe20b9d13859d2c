"""What a run writes after an epoch and when it is interrupted: tables and checkpoints."""

from pathlib import Path
from typing import Any

from deepchest_cli.files import to_csv, write_text
from deepchest_cli.model.checkpoint import BEST, LAST, save_checkpoint
from deepchest_cli.training.epoch_record import EpochRecord
from deepchest_cli.training.position import Position, snapshot
from deepchest_cli.training.progress import EpochReport
from deepchest_cli.training.run_directory import METRICS, WEIGHTS, point_latest
from deepchest_cli.training.setup import Setup

VALIDATION_METRICS = (
    "loss",
    "normalized_cross_entropy",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "auroc",
    "average_precision",
)


class RunFiles:
    """Writes into a run's folder; in any process but the first it only keeps the tables."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup = setup
        self.folder = folder

    def write_epoch(self, report: EpochReport, position: Position, record: EpochRecord) -> str:
        """Add an epoch to the tables and write all: the best first, the state last.

        Returns a warning where `runs/latest` cannot name the run; else nothing.
        """
        setup = self.setup
        position.add_row(
            report, setup.dataset.findings, float(setup.optimizer.param_groups[0]["lr"])
        )
        if not setup.ranks.is_first:
            return ""
        warning = ""
        if report.best:
            origin = {
                **self._origin(position),
                "validation": {m: report.macro("validation", m) for m in VALIDATION_METRICS},
            }
            save_checkpoint(self.folder / BEST, setup.judged, origin)
            # asked of the state: a process that was killed after the file comes here once more
            if sum(row["best"] for row in position.metrics) == 1:
                warning = point_latest(self.folder)
        self._write_table(METRICS, position.metrics)
        if position.weights:
            self._write_table(WEIGHTS, position.weights)
        self.save_last(position, record)
        return warning

    def save_last(self, position: Position, record: EpochRecord) -> None:
        """Write the state from which the run goes on."""
        if self.setup.ranks.is_first:
            state = snapshot(position, self.setup, record)
            save_checkpoint(
                self.folder / LAST, self.setup.classifier, self._origin(position), state
            )

    def _origin(self, position: Position) -> dict[str, Any]:
        """Return where a model comes from, and after how many epochs and steps of its run."""
        return {
            **self.setup.origin(),
            "epoch": position.epoch,
            "step": position.step,
            "steps_per_epoch": self.setup.steps_per_epoch,
        }

    def _write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        write_text(self.folder / name, to_csv(list(rows[0]), rows))

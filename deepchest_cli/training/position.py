"""Where a run stands, and how all of its state goes into a checkpoint and comes back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.training.epoch_record import EpochRecord
from deepchest_cli.training.progress import EpochReport
from deepchest_cli.training.setup import Setup


@dataclass
class Position:
    """Counters and history of a run, in plain values."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the run
    epoch_step: int = 0  # finished steps of the epoch under way
    best_epoch: int = 0  # counted from 1; 0: none yet
    best_score: float = float("-inf")
    criterion: str = ""  # what the best epoch is chosen by
    initial_weights: str = ""  # SHA-256 of what the model began with
    batches: str = ""  # SHA-256 of the rows of all batches so far, one chained to the other
    epoch_batches: list[str] = field(default_factory=list)  # the same as each epoch ended
    notes: list[str] = field(default_factory=list)  # what the weighter had to say
    metrics: list[dict[str, Any]] = field(default_factory=list)
    weights: list[dict[str, Any]] = field(default_factory=list)

    def end_step(self, rows: NDArray[np.int64]) -> None:
        """Count a finished step and chain its rows (B,) to those before."""
        self.step += 1
        self.epoch_step += 1
        self.batches = sha256(self.batches.encode() + rows.astype("<i8").tobytes()).hexdigest()

    def end_epoch(self, score: float, criterion: str) -> None:
        """Count a finished epoch and remember whether it is the best."""
        self.criterion = criterion
        self.epoch += 1
        self.epoch_step = 0
        self.epoch_batches.append(self.batches)
        if score > self.best_score:
            self.best_epoch, self.best_score = self.epoch, score

    def add_row(self, report: EpochReport, findings: Sequence[str], learning_rate: float) -> None:
        """Add an epoch to the tables that become metrics.csv and weights.csv."""
        row: dict[str, Any] = {
            "epoch": report.epoch,
            "step": self.step,
            "learning_rate": learning_rate,
            "best": int(report.best),
        }
        for part, values in (("training", report.training), ("validation", report.validation)):
            row |= {f"{part}_{metric}": report.macro(part, metric) for metric in values}
        row |= {
            "seconds": report.seconds,
            "images_per_second": report.images_per_second,
            "waiting": report.waiting,
            "peak_memory": report.peak_memory,
        }
        for part, values in (("training", report.training), ("validation", report.validation)):
            for metric, column in values.items():
                for finding, value in zip(findings, column.tolist(), strict=True):
                    row[f"{part}_{metric}/{finding}"] = value
        self.metrics.append(row)
        if report.weights is not None:
            trace = dict(zip(findings, report.weights.tolist(), strict=True))
            self.weights.append({"epoch": report.epoch, **trace})


def snapshot(position: Position, setup: Setup, record: EpochRecord) -> dict[str, Any]:
    """Return everything beyond the model's weights that a run needs to go on exactly.

    Learning rate, augmentation and dropout follow from seed and step: they have no state.
    """
    return {
        "position": asdict(position),
        "optimizer": setup.optimizer.state_dict(),
        "scaler": setup.scaler.state_dict(),
        "average": None if setup.average is None else setup.average.state_dict(),
        "weighter": setup.weighter.state_dict(),
        "record": record.state_dict(),
    }


def restore(training: dict[str, Any], setup: Setup, record: EpochRecord) -> Position:
    """Put the state of `snapshot` back into the parts of a run and return its position."""
    setup.optimizer.load_state_dict(training["optimizer"])
    setup.scaler.load_state_dict(training["scaler"])
    if setup.average is not None:
        setup.average.load_state_dict(training["average"])
    setup.weighter.load_state_dict(training["weighter"])
    record.load_state_dict(training["record"])
    return Position(**training["position"])

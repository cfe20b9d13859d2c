"""The state of a run, and how all of it goes into a checkpoint and comes back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.progress import EpochReport, mean
from deepchest_cli.training.run_files import ALL, EACH, SOURCE
from deepchest_cli.training.tasks import Tasks
from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.base import to_like
from deepchest_cli.weighting.losses import task_losses


@dataclass
class TrainState:
    """Counters and history of a run, in plain values."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the run
    epoch_step: int = 0  # finished steps of the current epoch
    best_epoch: int = 0  # whose model is kept, counted from 1; 0: none yet
    best_score: float = float("-inf")
    criterion: str = ""  # what the best epoch is chosen by
    initial_weights: str = ""  # SHA-256 of the model's weights before the first step
    batches: str = ""  # SHA-256 of the rows of all batches so far, each chained to the one before
    epoch_batches: list[str] = field(default_factory=list)  # the same at each epoch's end
    notes: list[str] = field(default_factory=list)  # of the weighter
    metrics: list[dict[str, Any]] = field(default_factory=list)  # rows of metrics.csv
    weights: list[dict[str, Any]] = field(default_factory=list)  # rows of weights.csv
    # of a linear probe: that of the best head, and rows of learning_rates.csv
    learning_rate: float | None = None
    learning_rates: list[dict[str, Any]] = field(default_factory=list)

    def end_step(self, rows: NDArray[np.int64]) -> None:
        """Count a finished step and chain its rows (B,) to those before."""
        self.step += 1
        self.epoch_step += 1
        self.batches = sha256(self.batches.encode() + rows.astype("<i8").tobytes()).hexdigest()

    def end_epoch(
        self,
        score: float,
        criterion: str,
        learning_rate: float | None = None,
        keep: str = "best",
    ) -> None:
        """Count a finished epoch and remember whether it is the best, and whose rate was.

        keep: best, or last, by which every epoch counts as better than those before it.
        """
        self.criterion = criterion
        self.epoch += 1
        self.epoch_step = 0
        self.epoch_batches.append(self.batches)
        if keep == "last" or score > self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
            self.learning_rate = learning_rate

    def add_rows(
        self,
        report: EpochReport,
        findings: Sequence[str],
        tasks: Sequence[str],
        learning_rate: float,
    ) -> None:
        """Add an epoch to the tables that become metrics.csv and weights.csv.

        Of several data sets each has a row of its own, with validation metrics alone.
        """
        epoch: dict[str, Any] = {
            "epoch": report.epoch,
            SOURCE: ALL,
            "step": self.step,
            "learning_rate": learning_rate,
            "best": int(report.best),
        }
        row = {**epoch, "score": report.score}
        if report.peak_learning_rate is not None:
            row["peak_learning_rate"] = report.peak_learning_rate
        row |= _means("training", report.training) | _means("validation", report.validation)
        row |= {
            "seconds": report.seconds,
            "images_per_second": report.images_per_second,
            "data_wait_fraction": report.data_wait_fraction,
            "peak_memory": report.peak_memory,
        }
        row |= _each("training", report.training, findings)
        row |= _each("validation", report.validation, findings)
        self.metrics.append(row)
        for name, metrics in report.sources.items():
            own = _means("validation", metrics) | _each("validation", metrics, findings)
            self.metrics.append(dict.fromkeys(row) | epoch | {SOURCE: name} | own)
        if report.weights is not None:
            weights = dict(zip(tasks, report.weights.tolist(), strict=True))
            self.weights.append({"epoch": report.epoch, **weights})


def _means(split: str, metrics: Mapping[str, Tensor]) -> dict[str, float]:
    return {f"{split}_{metric}": mean(values) for metric, values in metrics.items()}


def _each(split: str, metrics: Mapping[str, Tensor], findings: Sequence[str]) -> dict[str, float]:
    return {
        f"{split}_{metric}{EACH}{finding}": value
        for metric, values in metrics.items()
        for finding, value in zip(findings, values.tolist(), strict=True)
    }


class EpochMetrics:
    """Running sums of a training epoch per task (K,), on the device: nothing waits for them.

    Of several heads (R, K), with a dimension more wherever K stands below.
    """

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        # not float64: Metal has none; counts stay exact up to 2**24 images
        self.sums = {
            name: torch.zeros(*shape, device=device) for name in ("loss", "correct", "known")
        }
        # weights are kept in double precision where the device has it
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.weights = torch.zeros(*shape, dtype=dtype, device=device)  # their running mean
        self.weight_count = 0  # steps with weights

    def add(
        self,
        logits: Tensor,
        labels: Tensor,
        known: Tensor,
        weights: Tensor | None,
        losses: TaskLosses | None = None,
    ) -> None:
        """Add a batch (B, K) and the weights (K,) of its step, None where a method has none.

        The loss is the cross-entropy, as in validation; `losses` are the batch's own where they
        are known, so that they need not be computed twice.
        """
        losses = losses or task_losses(logits, labels, known)
        correct = ((logits > 0) == labels) & known
        self.sums["loss"].addcmul_(losses.values, losses.known)
        self.sums["correct"] += correct.sum(dim=0)
        self.sums["known"] += losses.known
        if weights is not None:
            self.weight_count += 1
            # a running mean: constant weights stay the same to the last digit
            self.weights.lerp_(to_like(weights, self.weights), 1 / self.weight_count)

    def mean_weights(self) -> Tensor | None:
        """Return the mean of the steps' weights (K,); None where there were none."""
        return self.weights.cpu().double() if self.weight_count else None

    def performance(self) -> dict[str, Tensor]:
        """Return the epoch's `loss` and `accuracy` (K,) in double precision; NaN: nothing known."""
        return self._means(lambda sums: sums)

    def of_findings(self, tasks: Tasks) -> dict[str, Tensor]:
        """Return the same for each finding (T,), over all its tasks."""
        return self._means(tasks.pooled)

    def _means(self, pool: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        sums = {name: pool(value.cpu().double()) for name, value in self.sums.items()}
        return {"loss": sums["loss"] / sums["known"], "accuracy": sums["correct"] / sums["known"]}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums for a checkpoint."""
        return {**self.sums, "weights": self.weights, "weight_count": self.weight_count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the sums of a checkpoint."""
        for name, total in self.sums.items():
            total.copy_(state[name])
        self.weights.copy_(state["weights"])
        # in older checkpoints a tensor with the same number for each task
        self.weight_count = int(torch.as_tensor(state["weight_count"]).max())


def snapshot(
    state: TrainState, epoch_metrics: EpochMetrics, components: TrainingComponents
) -> dict[str, Any]:
    """Return everything beyond the model's weights that a run needs to resume exactly.

    Learning rate, augmentation and dropout follow from seed and step: they have no state.
    """
    ema_model, heads = components.ema_model, components.heads
    return {
        "train_state": asdict(state),
        "epoch_metrics": epoch_metrics.state_dict(),
        "optimizer": components.optimizer.state_dict(),
        "scaler": components.scaler.state_dict(),
        "ema_model": None if ema_model is None else ema_model.state_dict(),
        "weighter": components.weighter.state_dict(),
        "heads": None if heads is None else heads.state_dict(),
    }


def restore(
    training: dict[str, Any], epoch_metrics: EpochMetrics, components: TrainingComponents
) -> TrainState:
    """Put what `snapshot` returned back into a run, and return its state."""
    components.optimizer.load_state_dict(training["optimizer"])
    components.scaler.load_state_dict(training["scaler"])
    if components.ema_model is not None:
        components.ema_model.load_state_dict(training["ema_model"])
    if components.heads is not None:
        components.heads.load_state_dict(training["heads"])
    components.weighter.load_state_dict(training["weighter"])
    epoch_metrics.load_state_dict(training["epoch_metrics"])
    return TrainState(**training["train_state"])

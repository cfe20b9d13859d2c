"""The validation metrics of an epoch: of all images, of each data set, and of each task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.training.tasks import Tasks
from deepchest_cli.weighting import Performance
from deepchest_cli.weighting.certainty import PatientCounts

VALIDATION_METRICS = (
    "loss", "normalized_cross_entropy", "accuracy", "balanced_accuracy", "f1", "auroc",
    "average_precision",
)  # fmt: skip

Metrics = Mapping[str, Tensor]  # (T,) each


@dataclass(frozen=True)
class Validation:
    """The metrics of a model on the validation split."""

    pooled: Metrics  # (T,), of all images
    sources: Mapping[str, Metrics]  # (T,) of each data set, by name; of a single one `pooled`
    tasks: Metrics  # (K,)

    def performance(self, training: Metrics, patients: Mapping[str, PatientCounts]) -> Performance:
        """Return what a weighter receives, with the training metrics of tasks (K,)."""
        return Performance(training, self.tasks, patients)

    @property
    def score(self) -> float:
        """What the best epoch is chosen by: macro AUROC, or minus the loss without one.

        Of several data sets it is the mean over them, so that the largest does not decide alone.
        """
        aurocs = self._of_sources("auroc")
        return macro(aurocs) if len(aurocs) else -macro(self._of_sources("loss"))

    @property
    def criterion(self) -> str:
        """What `score` is, in words."""
        number, name = len(self._of_sources("auroc")), "validation AUROC"
        if not number:
            number, name = len(self._of_sources("loss")), "minus validation loss"
        if len(self.sources) == 1:
            return name
        return f"{name}, mean of {count_of(number, 'data set')}"

    def _of_sources(self, metric: str) -> NDArray[np.float64]:
        """Return the macro metric of each data set that has one."""
        values = np.array([macro(metrics[metric].numpy()) for metrics in self.sources.values()])
        return np.asarray(values[~np.isnan(values)])


def validate(dataset: RadiographDataset, tasks: Tasks, predictions: Predictions) -> Validation:
    """Return the metrics of predictions for the validation split of a data set, in its order."""
    pooled, member = LazyMetrics(predictions), dataset.member[dataset.rows("validation")]
    sources: dict[str, Metrics] = {dataset.members[0].name: pooled}
    if len(dataset.members) > 1:
        sources = {
            one.name: LazyMetrics(predictions.of_rows(member == number))
            for number, one in enumerate(dataset.members)
        }
    by_task = predictions
    if tasks.member is not None:
        known = predictions.known[:, tasks.finding] * (member[:, None] == tasks.member)
        by_task = replace(
            predictions,
            findings=tasks.names,
            probabilities=predictions.probabilities[:, tasks.finding],
            labels=predictions.labels[:, tasks.finding],
            known=known,
        )
    metrics = pooled if by_task is predictions else LazyMetrics(by_task)
    return Validation(pooled, sources, metrics)


def count_patients(dataset: RadiographDataset, tasks: Tasks) -> dict[str, PatientCounts]:
    """Return how many patients of train and validation have labels of each task (K,)."""
    labels, known = (torch.from_numpy(table) for table in tasks.labels(dataset))
    numbers = np.unique(dataset.columns["patient_id"], return_inverse=True)[1]
    patients = torch.from_numpy(numbers)
    rows = {split: torch.from_numpy(dataset.rows(split)) for split in ("train", "validation")}
    return {
        split: PatientCounts.of(labels[own], known[own], patients[own])
        for split, own in rows.items()
    }


class LazyMetrics(Mapping[str, Tensor]):
    """The metrics (T,) of a table of predictions, each computed when it is first asked for.

    Where probabilities are not finite all are NaN.
    """

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.found: dict[str, Tensor] = {}

    def __getitem__(self, metric: str) -> Tensor:
        """Return a metric (T,)."""
        if metric not in VALIDATION_METRICS:
            raise KeyError(metric)
        if metric not in self.found:
            finite = np.isfinite(self.predictions.probabilities).all()
            findings = len(self.predictions.findings)
            values = per_finding(metric, self.predictions) if finite else np.full(findings, np.nan)
            self.found[metric] = torch.from_numpy(values)
        return self.found[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(VALIDATION_METRICS)

    def __len__(self) -> int:
        return len(VALIDATION_METRICS)

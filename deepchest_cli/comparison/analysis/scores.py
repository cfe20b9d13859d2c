"""The figures of each weighter, seed by seed and of resampled patients, and their summaries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.bootstrap import Resampling, resampled
from deepchest_cli.evaluation.metrics import Floats, per_finding
from deepchest_cli.evaluation.predictions import Predictions

METRICS = ("auroc", "average_precision", "accuracy", "f1", "loss")
LOWER_IS_BETTER = ("loss",)
OF_POSITIVES = ("auroc", "average_precision", "f1")  # undefined without any


@dataclass(frozen=True)
class Scores:
    """One weighter's metrics for S seeds, B replicates of the patients and T findings."""

    values: dict[str, Floats]  # metric to (S, T)
    replicates: dict[str, Floats]  # metric to (S, B, T)
    patients: NDArray[np.int64]  # (2, T), how many have an image with, and one without, the finding


def score(seeds: Sequence[Predictions], resampling: Resampling) -> Scores:
    """Return the metrics of the predictions of each seed, all on the same images."""
    return Scores(
        {m: np.stack([per_finding(m, table) for table in seeds]) for m in METRICS},
        {m: np.stack([resampled(m, table, resampling) for table in seeds]) for m in METRICS},
        _patients(seeds[0]),
    )


def _patients(table: Predictions) -> NDArray[np.int64]:
    marks = [(table.labels == label) & (table.known == 1) for label in (1, 0)]
    counts = [
        [len(np.unique(table.patient_id[mark[:, i]])) for i in range(len(table.findings))]
        for mark in marks
    ]
    return np.array(counts, dtype=np.int64)


@dataclass(frozen=True)
class Quantity:
    """A figure of a whole model, made of a metric of its findings."""

    name: str
    title: str
    metric: str
    reduce: Callable[[Floats], Floats]  # (..., T) to (...)

    def of(self, scores: Scores) -> tuple[Floats, Floats]:
        """Return the figure for each seed (S,), and for each replicate (S, B)."""
        return (
            self.reduce(scores.values[self.metric]),
            self.reduce(scores.replicates[self.metric]),
        )


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean over the last axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def least_of_defined(values: Floats) -> Floats:
    """Return the least over the last axis of what is defined; NaN where nothing is."""
    least = np.where(np.isfinite(values), values, np.inf).min(axis=-1)
    return np.asarray(np.where(np.isfinite(least), least, np.nan))


def rarest_third(positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the columns of the third of findings (T,) with the fewest training positives."""
    return np.argsort(positives, kind="stable")[: max(round(len(positives) / 3), 1)]


def quantities(rare: NDArray[np.int64]) -> tuple[Quantity, ...]:
    """Return what models are compared by, the first of all foremost; `rare` are columns."""

    def over_rare(values: Floats) -> Floats:
        return mean_of_defined(values[..., rare])

    return (
        Quantity("macro_auroc", "Macro AUROC", "auroc", mean_of_defined),
        Quantity("macro_average_precision", "Macro AP", "average_precision", mean_of_defined),
        Quantity("macro_accuracy", "Accuracy", "accuracy", mean_of_defined),
        Quantity("macro_f1", "Macro F1", "f1", mean_of_defined),
        Quantity("macro_loss", "Loss", "loss", mean_of_defined),
        Quantity("worst_auroc", "Worst finding's AUROC", "auroc", least_of_defined),
        Quantity("rare_auroc", "AUROC of the rare third", "auroc", over_rare),
    )

"""The metrics of a weighter by seed and resampled patients: of all data sets, and of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    effective_patients,
    rarer_class_patients,
    resampled,
)
from deepchest_cli.evaluation.metrics import OF_POSITIVES, Floats
from deepchest_cli.evaluation.predictions import Predictions

METRICS = ("auroc", "average_precision", "accuracy", "f1", "loss")
Samples = tuple[Floats, Floats]  # a metric by seed (S,), and by seed and replicate (S, B)


@dataclass(frozen=True)
class Scores:
    """One weighter's metrics for S seeds, B replicates of the patients and T findings.

    Of several data sets, AUROC and average precision compare images of the same data set only.
    """

    values: dict[str, Floats]  # metric to (S, T)
    replicates: dict[str, Floats]  # metric to (S, B, T)
    patients: NDArray[np.int64]  # (2, T), number with an image with, and without, the finding
    effective: dict[str, Floats]  # metric to (T,), the effective number of patients that carry it
    # those of each of several data sets; NaN for a finding that it does not label
    of_each: tuple["Scores", ...] = ()

    @property
    def by_data_set(self) -> tuple["Scores", ...]:
        """The scores of each data set; of a single one these."""
        return self.of_each or (self,)

    def of_finding(self, metric: str, column: int) -> Samples:
        """Return a metric of one finding."""
        return self.values[metric][:, column], self.replicates[metric][:, :, column]


def score(
    seeds: Sequence[Predictions],
    resampling: Resampling,
    member: NDArray[np.int64] | None = None,
    metrics: Sequence[str] = METRICS,
) -> Scores:
    """Return metrics of the predictions of each seed, all on the same images.

    member: (N,), the data set of each image, counted from 0; None: there is one.
    """
    if member is None or not member.any():
        return _score(seeds, resampling, metrics)
    of_each = tuple(
        _score(
            [table.of_rows(member == number) for table in seeds],
            replace(resampling, rows=resampling.rows[member == number]),
            metrics,
        )
        for number in range(int(member.max()) + 1)
    )
    together = _score([_ranked_within(table, member) for table in seeds], resampling, metrics)
    patients = np.stack([one.patients for one in of_each])  # (M, 2, T)
    paired = (patients > 0).all(axis=1, keepdims=True)  # else there is no pair of images to rank
    return replace(
        together,
        patients=(patients * paired).sum(axis=0),
        effective={m: np.sum([one.effective[m] for one in of_each], axis=0) for m in METRICS},
        of_each=of_each,
    )


def _score(seeds: Sequence[Predictions], resampling: Resampling, metrics: Sequence[str]) -> Scores:
    sample = resampling.sample
    return Scores(
        {m: np.stack([resampled(m, table, sample)[0] for table in seeds]) for m in metrics},
        {m: np.stack([resampled(m, table, resampling) for table in seeds]) for m in metrics},
        _patient_counts(seeds[0]),
        _effective_patients(seeds[0]),
    )


def _ranked_within(table: Predictions, member: NDArray[np.int64]) -> Predictions:
    """Return the predictions with each data set as a fold of its own.

    A model that tells data sets apart, and which of them has a finding more often, would otherwise
    gain AUROC without telling patients apart.
    """
    fold = np.zeros_like(member) if table.fold is None else table.fold
    return replace(table, fold=fold * (int(member.max()) + 1) + member)


def _patient_counts(table: Predictions) -> NDArray[np.int64]:
    masks = [(table.labels == label) & (table.known == 1) for label in (1, 0)]
    counts = [
        [len(np.unique(table.patient_id[mask[:, i]])) for i in range(len(table.findings))]
        for mask in masks
    ]
    return np.array(counts, dtype=np.int64)


def _effective_patients(table: Predictions) -> dict[str, Floats]:
    columns = range(len(table.findings))
    rarer = np.array([rarer_class_patients(table, i) for i in columns])
    known = np.array([effective_patients(table.known[:, i], table.patient_id) for i in columns])
    return {metric: rarer if metric in OF_POSITIVES else known for metric in METRICS}

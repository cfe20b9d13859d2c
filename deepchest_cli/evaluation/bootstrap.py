"""Metrics under resampled patients: images get weights, and no table is made anew.

An image counts as often as its patient was drawn, so that all images of a patient come and go
together: in NIH's official test split a tenth of the patients holds more than half of the images.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepchest_cli.evaluation.intervals import (
    LEVEL,
    auroc_interval,
    macro_interval,
    rate_intervals,
)
from deepchest_cli.evaluation.metrics import Floats, Labels, value_of
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import ROUNDING, mean_of_defined
from deepchest_cli.evaluation.weighted import WEIGHTED, Measure, PatientIndex, Places, share

CHUNK = 128  # replicates at a time; bounds the memory


@dataclass(frozen=True)
class Resampling:
    """B replicates of the P patients of N images."""

    counts: NDArray[np.int64]  # (B, P), how often each patient was drawn
    rows: NDArray[np.int64]  # (N,), the patient of each image
    fold: NDArray[np.int64] | None = None  # (N,), as in `Predictions`

    def patient_index(self, images: NDArray[np.int64]) -> PatientIndex:
        """Return the patients of some images, by their rows (n,)."""
        return PatientIndex(self.rows[images], self.counts.shape[1], self.folds(images))

    def folds(self, images: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the folds of some images, by their rows (n,); None: one model scored all."""
        return None if self.fold is None else self.fold[images]

    @property
    def sample(self) -> "Resampling":
        """The sample itself as the only replicate, with every patient once."""
        return replace(self, counts=np.ones_like(self.counts[:1]))

    @cached_property
    def _weights(self) -> list[Floats]:
        """The counts as they are multiplied, (P, b) each."""
        return [
            np.ascontiguousarray(self.counts[first : first + CHUNK].T, dtype=np.float64)
            for first in range(0, len(self.counts), CHUNK)
        ]

    def applied(self, measure: Measure) -> Floats:
        """Return a measure in each replicate (B,)."""
        return np.concatenate([np.empty(0), *(measure(weights) for weights in self._weights)])

    def ratios(self, images: NDArray[np.int64], numerators: Floats, denominators: Floats) -> Floats:
        """Return ratios of sums in each replicate (B, m); NaN where the denominator is 0.

        Both are given for some images, by their rows (n,), and m ratios: (n, m).
        """
        both = np.concatenate([numerators, denominators], axis=1)
        sums = self.patient_index(images).table_sums(both)  # (P, 2 m)
        empty = np.empty((0, sums.shape[1]))
        found = np.concatenate([empty, *(weights.T @ sums for weights in self._weights)])
        return share(found[:, : numerators.shape[1]], found[:, numerators.shape[1] :])


@dataclass(frozen=True)
class Interval:
    """The interval of a metric; NaN where there is none."""

    low: float
    high: float
    undefined: int = 0  # replicates without the metric, which are excluded


def resample_patients(
    patient_id: NDArray[np.int64],
    replicates: int,
    seed: int,
    member: NDArray[np.int64] | None = None,
    fold: NDArray[np.int64] | None = None,
) -> Resampling:
    """Return draws with replacement of as many patients as there are; patient_id is (N,).

    member: (N,), the data set of each image. As many patients as a data set has are drawn of it, as
    its size was chosen and would be the same with other patients; of patients whom several have,
    likewise. fold: (N,), as in `Predictions`, of which the same holds.
    """
    member = fold if member is None else member
    patients, rows = np.unique(patient_id, return_inverse=True)
    rows, random = rows.reshape(-1), np.random.default_rng(seed)
    counts = np.empty((replicates, len(patients)), dtype=np.int64)
    for stratum in _strata(rows, np.zeros_like(rows) if member is None else member):
        shares = np.full(len(stratum), 1 / len(stratum))
        counts[:, stratum] = random.multinomial(len(stratum), shares, size=replicates)
    return Resampling(counts, rows, fold)


def _strata(patient: Places, member: Places) -> list[Places]:
    """Return the patients of each combination of data sets; both arguments are by image (N,)."""
    has = np.zeros((int(patient.max()) + 1, int(member.max()) + 1), dtype=bool)
    has[patient, member] = True
    combination = np.unique(has, axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(combination == one) for one in np.unique(combination)]


def resampled_metric(
    metric: str, labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> Floats:
    """Return a metric of `WEIGHTED` in each replicate (B,), over images by their rows (n,)."""
    index = resampling.patient_index(images)
    return resampling.applied(WEIGHTED[metric](labels, probabilities, index))


def resampled(metric: str, predictions: Predictions, resampling: Resampling) -> Floats:
    """Return a metric of `WEIGHTED` in each replicate for each finding (B, T); NaN: undefined.

    Predictions of several folds are ranked within each fold.
    """
    columns = []
    for column in range(len(predictions.findings)):
        rows, labels, probabilities = predictions.known_labels(column)
        index = resampling.patient_index(rows)
        if predictions.fold is not None:
            index = replace(index, fold=predictions.fold[rows])
        columns.append(resampling.applied(WEIGHTED[metric](labels, probabilities, index)))
    return np.stack(columns, axis=1)


def interval(replicates: Floats, patients: float, level: float = LEVEL) -> Interval:
    """Return the expanded percentile interval of a metric's replicates (B,).

    patients: the effective number behind the metric; of a ranking metric the fewer of those with
    and without the finding. Percentiles of few patients are too near each other, which Student's t
    and a variance over n - 1 make up for: the level of the lower one is Phi(-sqrt(n / (n - 1)) t)
    instead of `level` / 2, and the upper one likewise (Hesterberg 2015, The American Statistician
    69). Not defined for fewer than two patients.
    """
    defined = replicates[np.isfinite(replicates)]
    undefined = len(replicates) - len(defined)
    if len(defined) < 2 or patients < 2:
        return Interval(np.nan, np.nan, undefined)
    reach = np.sqrt(patients / (patients - 1)) * special.stdtrit(patients - 1, 1 - level / 2)
    low, high = np.quantile(defined, [special.ndtr(-reach), special.ndtr(reach)])
    return Interval(float(low), float(high), undefined)


def patients_with(marks: NDArray[Any], patient_id: NDArray[np.int64]) -> int:
    """Return how many patients have a marked image (N,)."""
    return len(np.unique(patient_id[np.asarray(marks, dtype=bool)]))


def effective_patients(marks: NDArray[Any], patient_id: NDArray[np.int64]) -> float:
    """Return how many patients of equally many marked images (N,) would vary as much (Kish 1965).

    Where a few patients have most of the images, that is far fewer than there are.
    """
    images = np.unique(patient_id[np.asarray(marks, dtype=bool)], return_counts=True)[1]
    return float(images.sum() ** 2 / (images**2).sum()) if len(images) else 0.0


def rarer_class_patients(predictions: Predictions, column: int) -> float:
    """Return the effective patients with or without a finding, whichever are fewer."""
    known, labels = predictions.known[:, column] == 1, predictions.labels[:, column]
    sides = (known & (labels == value) for value in (0, 1))
    return min(effective_patients(side, predictions.patient_id) for side in sides)


UNDEFINED = {"value": np.nan, "low": np.nan, "high": np.nan}


def metric_with_interval(value: float, replicates: Floats, patients: float) -> dict[str, float]:
    """Return a metric with the interval of its replicates (B,); patients: as in `interval`.

    There is none where all replicates are equal, which says nothing about other patients.
    """
    found = interval(replicates, patients) if np.isfinite(value) else Interval(np.nan, np.nan)
    if found.high - found.low < ROUNDING:
        found = Interval(np.nan, np.nan)
    return {"value": float(value), "low": found.low, "high": found.high}


def auroc_with_interval(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> dict[str, float]:
    """Return the AUROC over images, by their rows (n,), with its interval."""
    low, high, fold = np.nan, np.nan, resampling.folds(images)
    if len(resampling.counts):
        low, high = auroc_interval(labels, probabilities, resampling.rows[images], fold)
    return {"value": value_of("auroc", labels, probabilities, fold), "low": low, "high": high}


def macro_with_interval(found: list[dict[str, float]], replicates: Floats) -> dict[str, float]:
    """Return the mean of T metrics with their intervals; replicates: (B, T), of all of them."""
    values, low, high = (np.array([one[k] for one in found]) for k in ("value", "low", "high"))
    ends = macro_interval(values, np.stack([low, high]), replicates)
    return {"value": float(mean_of_defined(values)), "low": ends[0], "high": ends[1]}


def ratios_with_intervals(
    numerators: Floats, denominators: Floats, images: Places, resampling: Resampling
) -> list[dict[str, float]]:
    """Return m rates of counted images (n, m) with their intervals; NaN over nothing.

    Both are 0 or 1 for each image, by their rows (n,). Without replicates there are no intervals.
    """
    values = share(numerators.sum(axis=0), denominators.sum(axis=0))
    low, high = np.full((2, len(values)), np.nan)
    if len(resampling.counts):
        index = resampling.patient_index(images)
        low, high = rate_intervals(index.table_sums(numerators), index.table_sums(denominators))
    return [
        {"value": float(value), "low": float(one), "high": float(other)}
        for value, one, other in zip(values, low, high, strict=True)
    ]

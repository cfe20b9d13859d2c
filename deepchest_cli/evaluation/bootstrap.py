"""Figures under resampled patients: images get weights, and no table is made anew.

An image counts as often as its patient was drawn, so that all images of a patient come and go
together: in NIH's official test part a tenth of the patients holds more than half of the images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.weighted import WEIGHTED, Measure, Owners

CHUNK = 128  # replicates at a time; bounds the memory
LEVEL = 0.05  # what intervals leave uncovered


@dataclass(frozen=True)
class Resampling:
    """B replicates of the P patients of N images."""

    counts: NDArray[np.int64]  # (B, P), how often each patient was drawn
    rows: NDArray[np.int64]  # (N,), the patient of each image

    def owners(self, images: NDArray[np.int64]) -> Owners:
        """Return the patients of some images, by their rows (n,)."""
        return Owners(self.rows[images], self.counts.shape[1])

    @cached_property
    def _weights(self) -> list[Floats]:
        """The counts as they are multiplied, (P, b) each."""
        return [
            np.ascontiguousarray(self.counts[first : first + CHUNK].T, dtype=np.float64)
            for first in range(0, len(self.counts), CHUNK)
        ]

    def applied(self, measure: Measure) -> Floats:
        """Return a measure's figure in each replicate (B,)."""
        return np.concatenate([np.empty(0), *(measure(weights) for weights in self._weights)])

    def ratios(self, images: NDArray[np.int64], parts: Floats, wholes: Floats) -> Floats:
        """Return sums of `parts` over sums of `wholes` in each replicate (B, m); NaN over nothing.

        Both are given for some images, by their rows (n,), and m ratios: (n, m).
        """
        sums = self.owners(images).table_sums(np.concatenate([parts, wholes], axis=1))  # (P, 2 m)
        empty = np.empty((0, sums.shape[1]))
        found = np.concatenate([empty, *(weights.T @ sums for weights in self._weights)])
        part, whole = found[:, : parts.shape[1]], found[:, parts.shape[1] :]
        undefined = np.full_like(part, np.nan)
        return np.asarray(np.divide(part, whole, out=undefined, where=whole > 0))

    def image_weights(self) -> Iterator[Floats]:
        """Yield the weights (b, N) of the images, some replicates at a time."""
        for first in range(0, len(self.counts), CHUNK):
            yield self.counts[first : first + CHUNK].astype(np.float64)[:, self.rows]


@dataclass(frozen=True)
class Interval:
    """Where a figure lies; NaN where too few replicates define it."""

    low: float
    high: float
    undefined: int = 0  # replicates without the figure, which are left out


def resample_patients(patient_id: NDArray[np.int64], replicates: int, seed: int) -> Resampling:
    """Return draws with replacement of as many patients as there are; patient_id is (N,)."""
    patients, rows = np.unique(patient_id, return_inverse=True)
    shares = np.full(len(patients), 1 / len(patients))
    counts = np.random.default_rng(seed).multinomial(len(patients), shares, size=replicates)
    return Resampling(counts, rows.reshape(-1))


def resampled(metric: str, predictions: Predictions, resampling: Resampling) -> Floats:
    """Return a metric of `WEIGHTED` in each replicate for each finding (B, T); NaN: undefined."""
    columns = []
    for column in range(len(predictions.findings)):
        known = np.flatnonzero(predictions.known[:, column])
        labels = predictions.labels[known, column]
        measure = WEIGHTED[metric](
            labels, predictions.probabilities[known, column], resampling.owners(known)
        )
        columns.append(resampling.applied(measure))
    return np.stack(columns, axis=1)


def interval(replicates: Floats, patients: float, level: float = LEVEL) -> Interval:
    """Return the expanded percentile interval of a figure's replicates (B,).

    patients: how many effectively carry the figure; of a ranking metric the fewer of those with and
    without the finding. Percentiles of few patients are too near each other, by what Student's t
    and a variance over n - 1 make up: the level of the lower one is Phi(-sqrt(n / (n - 1)) t)
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
    """Return how many patients have an image that is marked (N,)."""
    return len(np.unique(patient_id[np.asarray(marks, dtype=bool)]))


def effective_patients(marks: NDArray[Any], patient_id: NDArray[np.int64]) -> float:
    """Return how many patients of equally many marked images (N,) would vary as much (Kish 1965).

    Where a few patients have most of the images, that is far fewer than there are.
    """
    images = np.unique(patient_id[np.asarray(marks, dtype=bool)], return_counts=True)[1]
    return float(images.sum() ** 2 / (images**2).sum()) if len(images) else 0.0


def carriers(predictions: Predictions, column: int) -> float:
    """Return the effective patients with or without a finding, whichever are fewer."""
    known, labels = predictions.known[:, column] == 1, predictions.labels[:, column]
    sides = (known & (labels == value) for value in (0, 1))
    return min(effective_patients(side, predictions.patient_id) for side in sides)

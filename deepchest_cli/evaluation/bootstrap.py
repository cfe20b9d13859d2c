"""Figures under resampled patients: images get weights, and no table is made anew.

An image counts as often as its patient was drawn, so that all images of a patient come and go
together: in NIH's official test part a tenth of the patients holds more than half of the images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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


def interval(replicates: Floats, level: float = LEVEL) -> Interval:
    """Return the percentile interval of a figure's replicates (B,), of coverage 1 - `level`."""
    defined = replicates[np.isfinite(replicates)]
    undefined = len(replicates) - len(defined)
    if len(defined) < 2:
        return Interval(np.nan, np.nan, undefined)
    low, high = np.quantile(defined, [level / 2, 1 - level / 2])
    return Interval(float(low), float(high), undefined)

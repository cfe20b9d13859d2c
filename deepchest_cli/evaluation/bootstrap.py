"""Figures under resampled patients: images get weights, and no table is made anew.

An image counts as often as its patient was drawn, so that all images of a patient come and go
together: in NIH's official test part a tenth of the patients holds more than half of the images.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.metrics import SMALLEST, THRESHOLD, Floats, Labels
from deepchest_cli.evaluation.predictions import Predictions

CHUNK = 32  # replicates at a time, which stay in the processor's cache


@dataclass(frozen=True)
class Resampling:
    """B replicates of the P patients of N images."""

    counts: NDArray[np.int64]  # (B, P), how often each patient was drawn
    rows: NDArray[np.int64]  # (N,), the patient of each image

    def image_weights(self) -> Iterator[Floats]:
        """Yield the weights (b, N) of the images, some replicates at a time."""
        for first in range(0, len(self.counts), CHUNK):
            yield self.counts[first : first + CHUNK].astype(np.float64)[:, self.rows]


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
        measure = WEIGHTED[metric](labels, predictions.probabilities[known, column])
        everything = len(known) == len(predictions.known)
        chunks = [
            measure(weights if everything else weights[:, known])
            for weights in resampling.image_weights()
        ]
        columns.append(np.concatenate(chunks))
    return np.stack(columns, axis=1)


Measure = Callable[[Floats], Floats]  # weights (b, n) to a figure for each replicate (b,)


def _share(part: Floats, whole: Floats) -> Floats:
    """Return part / whole (b,), NaN where the whole is nothing."""
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def _auroc(labels: Labels, probabilities: Floats) -> Measure:
    """The chance that a positive stands above a negative, ties counted half."""
    order = np.argsort(probabilities, kind="stable")
    ranked, negative = probabilities[order], labels[order] == 0
    positives = order[~negative]
    # how many negatives stand below each positive, and how many below or beside it
    below = np.cumsum(np.concatenate([[0], negative]))
    left = below[np.searchsorted(ranked, ranked[~negative], "left")]
    right = below[np.searchsorted(ranked, ranked[~negative], "right")]
    negatives = order[negative]

    def measure(weights: Floats) -> Floats:
        passed = np.zeros((len(weights), len(negatives) + 1))
        np.cumsum(weights[:, negatives], axis=1, out=passed[:, 1:])
        mine = weights[:, positives]
        above = (mine * (passed[:, left] + passed[:, right])).sum(axis=1) / 2
        return _share(above, np.asarray(mine.sum(axis=1) * passed[:, -1]))

    return measure


def _average_precision(labels: Labels, probabilities: Floats) -> Measure:
    """The mean over the positives of the precision at each one's own probability."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, positive = -probabilities[order], labels[order] == 1
    last = np.searchsorted(ranked, ranked[positive], "right")  # images down to each positive

    def measure(weights: Floats) -> Floats:
        ordered = weights[:, order]
        everything = np.cumsum(ordered, axis=1)[:, last - 1]
        found = np.cumsum(ordered * positive, axis=1)[:, last - 1]
        mine = ordered[:, positive]
        precision = np.divide(found, everything, out=np.zeros_like(found), where=everything > 0)
        return _share((mine * precision).sum(axis=1), mine.sum(axis=1))

    return measure


def _mean_of(values: Floats) -> Measure:
    return lambda weights: _share(weights @ values, weights.sum(axis=1))


def _accuracy(labels: Labels, probabilities: Floats) -> Measure:
    return _mean_of(((probabilities > THRESHOLD) == labels).astype(np.float64))


def _loss(labels: Labels, probabilities: Floats) -> Measure:
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return _mean_of(-np.log(np.clip(right, SMALLEST, 1)))


def _f1(labels: Labels, probabilities: Floats) -> Measure:
    predicted, positive = probabilities > THRESHOLD, labels == 1
    hits = (predicted & positive).astype(np.float64)
    both = predicted.astype(np.float64) + positive

    def measure(weights: Floats) -> Floats:
        score = _share(2 * (weights @ hits), weights @ both)
        some = weights @ positive.astype(np.float64) > 0
        return np.asarray(np.where(some, score, np.nan))

    return measure


WEIGHTED: dict[str, Callable[[Labels, Floats], Measure]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "accuracy": _accuracy,
    "f1": _f1,
    "loss": _loss,
}

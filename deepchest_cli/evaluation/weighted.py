"""Metrics of resampled patients: products with how often each patient was drawn.

Images are sorted and summed by patient once; a replicate then costs a product for each image.
Counts are denominator numbers and their sums exact: ties are tied in every replicate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from deepchest_cli.evaluation.metrics import SMALLEST, THRESHOLD, Floats, Labels

Places = NDArray[np.int64]
Measure = Callable[[Floats], Floats]  # counts (P, b) to a metric in each replicate (b,)


@dataclass(frozen=True)
class PatientIndex:
    """Which of P patients each of n images belongs to."""

    rows: Places  # (n,)
    patients: int
    fold: Places | None = None  # (n,), see `Predictions`; None: one model scored all images

    def sums(self, values: Floats) -> Floats:
        """Return the sum of an image's values (n,) for each patient (P,)."""
        return np.asarray(np.bincount(self.rows, values, self.patients), dtype=np.float64)

    def table_sums(self, values: Floats) -> Floats:
        """Return the sums of a table of images (n, m) for each patient (P, m)."""
        images = np.arange(len(self.rows))
        belongs = csr_array(
            (np.ones(len(images)), (self.rows, images)), shape=(self.patients, len(images))
        )
        return np.asarray(belongs @ values)

    def counted(self, places: Places, rows: Places, length: int) -> csr_array:
        """Return how many images of each patient stand at each place, (length, P)."""
        ones = np.ones(len(places))
        return csr_array((ones, (places, self.rows[rows])), shape=(length, self.patients))


Metric = Callable[[Labels, Floats, PatientIndex], Measure]


def share(numerator: Floats, denominator: Floats) -> Floats:
    """Return numerator / denominator (any shape), NaN where the denominator is nothing."""
    undefined = np.full(denominator.shape, np.nan)
    return np.asarray(np.divide(numerator, denominator, out=undefined, where=denominator > 0))


def ratio(numerator: Floats, denominator: Floats, index: PatientIndex) -> Measure:
    """Return the measure sum of `numerator` over sum of `denominator`, both given by image (n,)."""
    numerators, denominators = index.sums(numerator), index.sums(denominator)
    return lambda counts: share(numerators @ counts, denominators @ counts)


@dataclass(frozen=True)
class _Ranking:
    """Images of a fold by their place among the K different probabilities of positives."""

    positives: csr_array  # (K, P), ascending
    negatives: csr_array  # (2 K + 1, P): below the first, beside it, between it and the next, ...


def _rank(labels: Labels, probabilities: Floats, index: PatientIndex) -> list[_Ranking]:
    """Return the ranking of each fold's images; without folds a single one."""
    fold = np.zeros(len(labels)) if index.fold is None else index.fold
    return [_rank_fold(labels, probabilities, index, fold == one) for one in np.unique(fold)]


def _rank_fold(
    labels: Labels, probabilities: Floats, index: PatientIndex, within: NDArray[np.bool_]
) -> _Ranking:
    positive, negative = (np.flatnonzero(within & (labels == label)) for label in (1, 0))
    steps, place = np.unique(probabilities[positive], return_inverse=True)
    others = probabilities[negative]
    among = np.searchsorted(steps, others, "left") + np.searchsorted(steps, others, "right")
    return _Ranking(
        index.counted(place.reshape(-1), positive, len(steps)),
        index.counted(among, negative, 2 * len(steps) + 1),
    )


def _auroc(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    """The chance that a positive stands above a negative of its fold, ties counted half.

    Pairs of different folds would compare models, whose scores may be higher or lower throughout:
    that lowers a pooled AUROC (Airola et al. 2011, Computational Statistics & Data Analysis 55).
    """
    rankings = _rank(labels, probabilities, index)

    def measure(counts: Floats) -> Floats:
        above, pairs = np.zeros((2, counts.shape[1]))
        for ranking in rankings:
            own = ranking.positives @ counts  # (K, b)
            passed = np.cumsum(ranking.negatives @ counts, axis=0)  # (2 K + 1, b)
            above += np.einsum("kb,kb->b", own, passed[:-1:2] + passed[1::2]) / 2
            pairs += own.sum(axis=0) * passed[-1]
        return share(above, pairs)

    return measure


def _average_precision(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    """The mean over the positives of the precision at each one's own probability, in its fold."""
    rankings = _rank(labels, probabilities, index)

    def measure(counts: Floats) -> Floats:
        total, positives = np.zeros((2, counts.shape[1]))
        for ranking in rankings:
            own = ranking.positives @ counts
            passed = np.cumsum(ranking.negatives @ counts, axis=0)
            found = np.cumsum(own[::-1], axis=0)[::-1]  # positives from each step upwards
            everything = found + (passed[-1] - passed[:-1:2])
            precision = np.divide(found, everything, out=np.zeros_like(found), where=everything > 0)
            total += np.einsum("kb,kb->b", own, precision)
            positives += own.sum(axis=0)
        return share(total, positives)

    return measure


def mean_of(values: Floats, index: PatientIndex) -> Measure:
    """Return the measure of the mean of an image's values (n,)."""
    return ratio(values, np.ones(len(values)), index)


def _accuracy(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    return mean_of(((probabilities > THRESHOLD) == labels).astype(np.float64), index)


def _loss(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    right = np.where(labels == 1, probabilities, 1 - probabilities)
    return mean_of(-np.log(np.clip(right, SMALLEST, 1)), index)


def _brier(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    return mean_of((probabilities - labels) ** 2, index)


def _f1(labels: Labels, probabilities: Floats, index: PatientIndex) -> Measure:
    predicted, positive = probabilities > THRESHOLD, (labels == 1).astype(np.float64)
    score = ratio(2 * predicted * positive, predicted + positive, index)
    some = index.sums(positive)
    return lambda counts: np.asarray(np.where(some @ counts > 0, score(counts), np.nan))


WEIGHTED: dict[str, Metric] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    "accuracy": _accuracy,
    "f1": _f1,
    "loss": _loss,
    "brier": _brier,
}

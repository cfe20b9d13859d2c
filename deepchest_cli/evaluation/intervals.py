"""Intervals of rates and AUROC from the variance between patients: no replicates, no zero width.

A rate is a share of images, and images of a patient are alike. Its interval is that of Wilson 1927
(J Am Stat Assoc 22) on the effective number of images, N / D. The design effect D is the variance
between patients over that of N independent images. With all images of a patient alike it is
D_max = sum(m^2) / N for patients of m images (Kish 1965, Survey Sampling). Few patients with the
rarer outcome say little about D, and none say nothing, so that it is shrunk towards D_max:

    D = (e D_observed + c D_max) / (e + c),    1 <= D_observed <= D_max

with e the patients with the rarer outcome (each counts by its share of images) and c = `PRIOR`.

AUROC has Newcombe's interval (2006, Stat Med 25, method 5), whose variance follows from the AUROC
and the number of positives and negatives (Hanley and McNeil 1982, Radiology 143). That variance is
multiplied by D: observed is the clustered variance of Obuchowski (1997, Biometrics 53), and e is of
the images' shares of images of the other class that they are ranked above, the fewer of both
classes. D_observed has no upper limit here: positives may vary more than the model says.

Instead of the normal quantile stands Student's t with (k - 1) / (1 - 1 / D_max) degrees of freedom,
k being the effective number of patients, N / D_max: with one image a patient D is known to be 1.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepchest_cli.evaluation.metrics import Floats, Labels, share_above

LEVEL = 0.05  # what intervals leave uncovered
PRIOR = 0.25  # patients that D_max counts for, beside those with the rarer outcome
HALVINGS = 40  # of the distance to 0 or 1
NO_ENDS = (math.nan, math.nan)


def _rarer(sums: Floats, counts: Floats) -> Floats:
    """Return the patients with the rarer outcome (m,), by their shares of images; both (P, m)."""
    shares = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    found = shares.sum(axis=0)
    return np.asarray(np.minimum(found, (counts > 0).sum(axis=0) - found))


def _shrunk(observed: Floats, largest: Floats, rarer: Floats) -> Floats:
    """Return the design effect, shrunk towards the largest."""
    return np.asarray((rarer * observed + PRIOR * largest) / (rarer + PRIOR))


def _reach(patients: Floats, largest: Floats, level: float) -> Floats:
    """Return the quantile for an effective number of patients and the largest design effect."""
    uncertain = np.maximum(1 - 1 / largest, 1e-9)
    freedom = np.maximum(patients - 1, 1) / uncertain
    return np.asarray(special.stdtrit(freedom, 1 - level / 2))


def wilson(rates: Floats, numbers: Floats, reach: Floats) -> tuple[Floats, Floats]:
    """Return the ends of Wilson's interval of rates over effective numbers (m,)."""
    squared = reach**2 / numbers
    middle = rates + squared / 2
    half = np.sqrt(squared * (rates * (1 - rates) + squared / 4))
    low, high = (middle - half) / (1 + squared), (middle + half) / (1 + squared)
    # by rounding they may lie beyond a rate of 0 or 1
    return np.clip(low, 0, rates), np.clip(high, rates, 1)


def rate_intervals(
    numerators: Floats, denominators: Floats, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Return the ends of the intervals of m rates, given counts by patient (P, m).

    NaN where fewer than two patients are in the denominator.
    """
    total, patients = denominators.sum(axis=0), (denominators > 0).sum(axis=0)
    defined = patients >= 2
    rates, counts = numerators[:, defined].sum(axis=0) / total[defined], denominators[:, defined]
    total, patients = total[defined], patients[defined]
    largest = (counts**2).sum(axis=0) / total
    residuals = numerators[:, defined] - rates * counts
    between = patients / (patients - 1) * (residuals**2).sum(axis=0)  # of the numerator
    alone = total * rates * (1 - rates)  # the same of independent images
    observed = np.divide(between, alone, out=largest.copy(), where=alone > 0)
    effect = _shrunk(np.clip(observed, 1, largest), largest, _rarer(numerators[:, defined], counts))
    found = np.full((2, len(defined)), np.nan)
    found[:, defined] = wilson(rates, total / effect, _reach(total / largest, largest, level))
    return found[0], found[1]


def _model_variance(auroc: float, positives: float, negatives: float) -> float:
    """Return the variance of an AUROC as Newcombe's method 5 has it."""
    both = (positives + negatives) / 2 - 1
    spread = 1 + both * (1 - auroc) / (2 - auroc) + both * auroc / (1 + auroc)
    return auroc * (1 - auroc) * spread / (positives * negatives)


def _newcombe(
    auroc: float, positives: float, negatives: float, factor: float
) -> tuple[float, float]:
    """Return where (x - auroc)^2 = factor * variance(x), below and above the AUROC."""

    def within(x: float) -> bool:
        return (x - auroc) ** 2 <= factor * _model_variance(x, positives, negatives)

    def end(outside: float) -> float:
        inside = auroc
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if within(middle) else (inside, middle)
        return inside

    return end(0.0), end(1.0)


def auroc_interval(
    labels: Labels,
    scores: Floats,
    owners: NDArray[np.int64],
    fold: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return the ends of the interval of an AUROC over images (n,); owners: each one's patient.

    fold: whose model scored an image (n,); pairs of different folds do not count then. NaN where
    fewer than two patients have positives, or fewer than two have negatives.
    """
    if fold is not None:
        paired = _with_opponents(labels, fold)
        labels, scores, owners = labels[paired], scores[paired], owners[paired]
        fold = fold[paired]
    sides = labels == 1, labels == 0
    patients, rows = np.unique(owners, return_inverse=True)
    by_patient = [np.bincount(rows[side], minlength=len(patients)) for side in sides]
    counts = np.stack(by_patient, axis=1).astype(np.float64)  # (P, 2)
    fewest = int((counts > 0).sum(axis=0).min())
    if fewest < 2:
        return NO_ENDS
    positives, negatives = counts.sum(axis=0).tolist()
    shares, weights = _shares(labels, scores, fold)
    value = float(np.average(shares[sides[0]], weights=weights[sides[0]]))
    by_side = [np.bincount(rows[side], shares[side], len(patients)) for side in sides]
    sums: Floats = np.stack(by_side, axis=1, dtype=np.float64)
    influence = np.bincount(rows, (shares - value) * weights, len(patients))
    observed = fewest / (fewest - 1) * float((influence**2).sum())
    kish = counts.sum(axis=0) ** 2 / (counts**2).sum(axis=0)
    # at 0 and 1 the model has no variance: there the ratio is taken beside them
    beside = min(max(value, 1e-6), 1 - 1e-6)
    alone = _model_variance(beside, positives, negatives)
    largest = np.array(max(1.0, _model_variance(beside, *kish.tolist()) / alone))
    effect = _shrunk(np.array(max(1.0, observed / alone)), largest, _rarer(sums, counts).min())
    reach = _reach(kish.min(), largest, level)
    return _newcombe(value, positives, negatives, float(reach**2 * effect))


def _with_opponents(labels: Labels, fold: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which images (n,) are in a fold that has images of the other class too."""
    found = np.zeros(len(labels), dtype=bool)
    for one in np.unique(fold):
        found[fold == one] = len(np.unique(labels[fold == one])) > 1
    return found


def _shares(
    labels: Labels, scores: Floats, fold: NDArray[np.int64] | None
) -> tuple[Floats, Floats]:
    """Return which share of its opponents each image (n,) is ranked rightly to, and its weight.

    Opponents are the images of the other class in the same fold; an image weighs as many as it has,
    over the number of all pairs.
    """
    shares, opponents = np.zeros((2, len(labels)))
    places = np.zeros(len(labels), dtype=np.int64) if fold is None else fold
    for one in np.unique(places):
        positive, negative = (np.flatnonzero((places == one) & (labels == y)) for y in (1, 0))
        shares[positive] = share_above(scores[positive], scores[negative])
        shares[negative] = 1 - share_above(scores[negative], scores[positive])
        opponents[positive], opponents[negative] = len(negative), len(positive)
    return shares, opponents / opponents[labels == 1].sum()


def macro_interval(values: Floats, ends: Floats, replicates: Floats) -> tuple[float, float]:
    """Return the ends of the interval of the mean of T metrics that have intervals of their own.

    values: (T,); ends: (2, T); replicates: (B, T), the metrics under resampled patients, from which
    their correlation comes. The distances of the ends from the values are combined as standard
    errors are (Zou and Donner 2008, Stat Med 27). A metric without an interval may be anything
    from 0 to 1; undefined ones are excluded.
    """
    defined = np.isfinite(values)
    if not np.isfinite(ends[:, defined]).any():
        return NO_ENDS
    values, drawn = values[defined], replicates[:, defined]
    low, high = (
        np.where(np.isnan(one), limit, one)
        for one, limit in zip(ends[:, defined], (0.0, 1.0), strict=True)
    )
    correlation = _correlation(drawn)
    down, up = (
        math.sqrt(max(float(reach @ correlation @ reach), 0.0)) / len(values)
        for reach in (values - low, high - values)
    )
    mean = float(values.mean())
    return max(mean - down, 0.0), min(mean + up, 1.0)


def _correlation(replicates: Floats) -> Floats:
    """Return the correlation (T, T) of replicates (B, T); NaN: undefined; constant ones: none."""
    known = np.isfinite(replicates)
    count = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, replicates, 0).sum(axis=0) / count
    centered = np.where(known, replicates - means, 0)
    spread = np.sqrt((centered**2).sum(axis=0))
    scaled = np.divide(centered, spread, out=np.zeros_like(centered), where=spread > 0)
    found = scaled.T @ scaled
    np.fill_diagonal(found, 1)
    return np.asarray(found)

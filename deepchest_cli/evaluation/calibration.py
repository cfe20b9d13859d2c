"""Calibration: how far probabilities are from observed frequencies, and scaling that mends it.

Task weighting, weights of positives and resampling move probabilities away from prevalence, which
no ranking metric sees. Platt 1999 fits `sigmoid(a x + b)` to the logits x; temperature scaling (Guo
et al. 2017) has b = 0. Slope and intercept as in Van Calster et al. 2016: the slope is that of a
logistic regression on the logits, the intercept that of one whose slope is held at 1.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.metrics import SMALLEST, Floats, Labels, brier, brier_skill
from deepchest_cli.model.logistic import logit, sigmoid

Method = Literal["platt", "temperature"]
Bin = dict[str, Any]  # of a reliability diagram
BINS = 10  # of equal mass, of the ECE
MIN_PER_BIN = 5  # expected positives and negatives in a bin of a reliability diagram
MAX_BINS = 15  # of a reliability diagram
MIN_POSITIVES = 10  # on validation, and as many negatives; below them nothing is fitted or chosen
EQUAL_SCORES = "all scores are equal on validation"
STEPS = 100
SAME = 1e-9  # logits nearer to each other are equal
LARGEST = 100.0  # slope or intercept: beyond it the classes are all but separated


@dataclass(frozen=True)
class Scaling:
    """The map of a probability: sigmoid(slope * logit + intercept)."""

    slope: float
    intercept: float

    def applied(self, probabilities: Floats) -> Floats:
        """Return the calibrated probabilities (n,)."""
        return sigmoid(self.slope * logit(probabilities, SMALLEST) + self.intercept)

    def undone(self, calibrated: Floats) -> Floats:
        """Return the probabilities (n,) that `applied` gave these calibrated ones."""
        return sigmoid((logit(calibrated, SMALLEST) - self.intercept) / self.slope)


def _fit(columns: Floats, offset: Floats, labels: Labels) -> Floats | None:
    """Return the coefficients (k,) of a logistic regression by Newton's method.

    columns: (n, k), beside a fixed `offset` (n,). None where they diverge: separated classes.
    """
    coefficients = np.zeros(columns.shape[1])
    for _ in range(STEPS):
        found = sigmoid(offset + columns @ coefficients)
        gradient = columns.T @ (labels - found)
        curvature = (columns * (found * (1 - found))[:, None]).T @ columns
        try:
            step = np.linalg.solve(curvature, gradient)
        except np.linalg.LinAlgError:
            return None
        # far from the solution a whole step may overshoot
        coefficients = coefficients + step * min(1.0, 4 / max(np.abs(step).max(), 1e-300))
        if not np.isfinite(coefficients).all() or np.abs(coefficients).max() > LARGEST:
            return None
        if np.abs(step).max() < 1e-12:
            break
    return np.asarray(coefficients)


def too_few_labels(labels: Labels) -> str:
    """Return why so few positives and negatives on validation choose nothing; empty: enough."""
    positives = int(labels.sum())
    if min(positives, len(labels) - positives) >= MIN_POSITIVES:
        return ""
    return (
        f"fewer than {MIN_POSITIVES} positives or negatives on validation "
        f"({count_of(positives, 'positive')} and {count_of(len(labels) - positives, 'negative')})"
    )


def fit_scaling(labels: Labels, probabilities: Floats, method: Method) -> Scaling | str:
    """Return the scaling of a finding, or why there is none."""
    scarce = too_few_labels(labels)
    if scarce:
        return scarce
    logits = logit(probabilities, SMALLEST)
    if np.ptp(logits) < SAME:
        return EQUAL_SCORES
    columns = logits[:, None] if method == "temperature" else _with_one(logits)
    found = _fit(columns, np.zeros(len(labels)), labels)
    if found is None:
        return "no finite fit on validation: its classes are all but separated"
    if found[0] <= 0:
        return "higher scores are no likelier to be positive on validation"
    return Scaling(float(found[0]), float(found[1]) if method == "platt" else 0.0)


def _with_one(logits: Floats) -> Floats:
    return np.stack([logits, np.ones(len(logits))], axis=1)


Fit = tuple[Floats, Floats, Floats]  # columns (n, k), offset (n,), coefficients (k,)


def calibration_fits(labels: Labels, probabilities: Floats) -> tuple[Fit | None, Fit | None]:
    """Return the regressions whose first coefficients are slope and intercept; None: undefined."""
    if not 0 < labels.sum() < len(labels):
        return None, None
    logits = logit(probabilities, SMALLEST)
    if np.ptp(logits) < SAME:
        return None, None  # one score says nothing about a slope
    return (
        _whole_fit(_with_one(logits), np.zeros(len(labels)), labels),
        _whole_fit(np.ones((len(labels), 1)), logits, labels),
    )


def _whole_fit(columns: Floats, offset: Floats, labels: Labels) -> Fit | None:
    found = _fit(columns, offset, labels)
    return None if found is None else (columns, offset, found)


def slope_and_intercept(labels: Labels, probabilities: Floats) -> tuple[float, float]:
    """Return the calibration slope (1: right) and intercept (0: right); NaN where undefined."""
    slope, intercept = (
        np.nan if fit is None else float(fit[2][0])
        for fit in calibration_fits(labels, probabilities)
    )
    return slope, intercept


def bin_places(probabilities: Floats, bins: int = BINS) -> NDArray[np.int64]:
    """Return the bin of equal mass of each image (n,); equal probabilities share a bin."""
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1))
    return np.searchsorted(edges[1:-1], probabilities)


def expected_calibration_error(labels: Labels, probabilities: Floats) -> float:
    """Return the distance of mean prediction and share of positives, a mean over `BINS` bins.

    Bins have equal mass and count by their images; NaN without an image.
    """
    if not len(labels):
        return np.nan
    difference = np.bincount(bin_places(probabilities), probabilities - labels)
    return float(np.abs(difference).sum() / len(labels))


def reliability_places(labels: Labels, probabilities: Floats) -> NDArray[np.int64]:
    """Return each image's bin of the reliability diagram (n,), from 0 for the lowest predictions.

    There are as many bins as positives and negatives allow, at most `MAX_BINS`: in each at least
    `MIN_PER_BIN` of either are expected, as Cochran asks of a test of counts (1954, Biometrics 10).
    Bins of equal mass would have most positives of a rare finding in the last one. Here each has
    the same sum of q (1 - q) instead, the variance of its number of positives, where q is the
    probability by a logistic recalibration on these images: weights of positives move predictions
    by orders of magnitude, and q has the right number of positives whatever these are. Since
    q (1 - q) <= min(q, 1 - q), a sum of `MIN_PER_BIN` has as many expected of either. Equal
    probabilities share a bin, so that bins may be fewer or uneven.
    """
    values, place, count = np.unique(probabilities, return_inverse=True, return_counts=True)
    fit = calibration_fits(labels, values[place])[0]
    if fit is None:  # one score, one class or separated classes
        expected = np.full(len(labels), labels.mean())
    else:
        columns, offset, coefficients = fit
        expected = sigmoid(offset + columns @ coefficients)
    variance = np.bincount(place, expected * (1 - expected), len(count))  # of each value
    total = float(variance.sum())
    bins = min(max(int(total / MIN_PER_BIN), 1), MAX_BINS)
    middle = (np.cumsum(variance) - variance / 2) / (total or 1.0)
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[place]


def reliability(labels: Labels, places: NDArray[np.int64], probabilities: Floats) -> list[Bin]:
    """Return the bins that hold images: mean probability, share of positives, count.

    places: of `reliability_places`.
    """
    count = np.bincount(places)
    predicted, observed = np.bincount(places, probabilities), np.bincount(places, labels)
    return [
        {
            "predicted": float(predicted[i] / count[i]),
            "observed": float(observed[i] / count[i]),
            "images": int(count[i]),
        }
        for i in np.flatnonzero(count)
    ]


def calibration_metrics(labels: Labels, probabilities: Floats) -> dict[str, Any]:
    """Return all metrics of a finding's calibration."""
    slope, intercept = slope_and_intercept(labels, probabilities)
    return {
        "ece": expected_calibration_error(labels, probabilities),
        "brier": brier(labels, probabilities),
        "brier_skill": brier_skill(labels, probabilities),
        "slope": slope,
        "intercept": intercept,
        "mean_predicted": float(probabilities.mean()) if len(labels) else np.nan,
        "prevalence": float(labels.mean()) if len(labels) else np.nan,
    }

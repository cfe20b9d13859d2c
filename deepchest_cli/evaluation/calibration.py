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
BINS = 10  # of equal mass
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


def reliability(labels: Labels, probabilities: Floats, bins: int = BINS) -> list[dict[str, Any]]:
    """Return the bins of equal mass that hold images: mean probability, share of positives, count.

    Equal probabilities share a bin, so that bins may be fewer or uneven.
    """
    if not len(labels):
        return []
    place = bin_places(probabilities, bins)
    count = np.bincount(place, minlength=bins)
    predicted = np.bincount(place, probabilities, bins)
    observed = np.bincount(place, labels, bins)
    return [
        {
            "predicted": float(predicted[i] / count[i]),
            "observed": float(observed[i] / count[i]),
            "images": int(count[i]),
        }
        for i in np.flatnonzero(count)
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Return the mean distance of predicted and observed over the images of the bins."""
    images = sum(one["images"] for one in bins)
    if not images:
        return np.nan
    total = sum(one["images"] * abs(one["predicted"] - one["observed"]) for one in bins)
    return float(total / images)


def calibration_metrics(labels: Labels, probabilities: Floats) -> dict[str, Any]:
    """Return all metrics of a finding's calibration, with its reliability bins."""
    bins = reliability(labels, probabilities)
    slope, intercept = slope_and_intercept(labels, probabilities)
    return {
        "ece": expected_calibration_error(bins),
        "brier": brier(labels, probabilities),
        "brier_skill": brier_skill(labels, probabilities),
        "slope": slope,
        "intercept": intercept,
        "mean_predicted": float(probabilities.mean()) if len(labels) else np.nan,
        "prevalence": float(labels.mean()) if len(labels) else np.nan,
        "bins": bins,
    }

"""Operating points: thresholds chosen on validation and applied to what is scored.

A radiograph is predicted positive at a probability of at least the threshold. Each rule considers
the probabilities that occur, and takes the highest threshold among equals. Youden 1950, "Index for
rating diagnostic tests", Cancer 3: sensitivity + specificity - 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.metrics import Floats, Labels

TARGET = 0.90  # sensitivity or specificity, on validation
ROUNDING = 1e-12  # of sums of rates that are equal
REFERENCE_RULE = "youden"  # the reference operating point
RATES = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True)
class Curve:
    """Rates at each of K thresholds, ascending."""

    thresholds: Floats  # (K,), the probabilities that occur
    sensitivity: Floats
    specificity: Floats
    f1: Floats


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen."""

    title: str
    choose: Callable[[Curve], float]  # NaN where no threshold will do


def _highest(curve: Curve, quality: Floats) -> float:
    equals = np.flatnonzero(quality >= quality.max() - ROUNDING)
    return float(curve.thresholds[equals[-1]])


def _sensitivity(curve: Curve) -> float:
    return float(curve.thresholds[np.flatnonzero(curve.sensitivity >= TARGET)[-1]])


def _specificity(curve: Curve) -> float:
    enough = np.flatnonzero(curve.specificity >= TARGET)
    return float(curve.thresholds[enough[0]]) if len(enough) else np.nan


RULES: dict[str, Rule] = {
    "youden": Rule("Youden", lambda curve: _highest(curve, curve.sensitivity + curve.specificity)),
    "sensitivity_90": Rule("sensitivity 0.90", _sensitivity),
    "specificity_90": Rule("specificity 0.90", _specificity),
    "best_f1": Rule("best F1", lambda curve: _highest(curve, curve.f1)),
}


def rate_curve(labels: Labels, probabilities: Floats) -> Curve:
    """Return the rates at every threshold that occurs; both classes have to be there."""
    thresholds, place = np.unique(probabilities, return_inverse=True)
    place = place.reshape(-1)
    positives = np.bincount(place[labels == 1], minlength=len(thresholds)).astype(np.float64)
    negatives = np.bincount(place[labels == 0], minlength=len(thresholds)).astype(np.float64)
    true_positives = np.cumsum(positives[::-1])[::-1]
    false_positives = np.cumsum(negatives[::-1])[::-1]
    return Curve(
        thresholds,
        true_positives / positives.sum(),
        1 - false_positives / negatives.sum(),
        2 * true_positives / (true_positives + false_positives + positives.sum()),
    )


def choose_thresholds(labels: Labels, probabilities: Floats) -> dict[str, float]:
    """Return the threshold of each rule; NaN unless both classes are there."""
    if not 0 < labels.sum() < len(labels):
        return dict.fromkeys(RULES, np.nan)
    curve = rate_curve(labels, probabilities)
    return {name: rule.choose(curve) for name, rule in RULES.items()}


def confusion(labels: Labels, positive: NDArray[np.bool_]) -> dict[str, int]:
    """Return true and false positives and negatives of a decision (n,)."""
    present = labels == 1
    return {
        "tp": int((present & positive).sum()),
        "fp": int((~present & positive).sum()),
        "fn": int((present & ~positive).sum()),
        "tn": int((~present & ~positive).sum()),
    }


def rate_counts(labels: Labels, positive: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return numerators and denominators of `RATES` for each image: (n, 4) each."""
    present = labels == 1
    right = present & positive, ~present & ~positive
    among = present, ~present, positive, ~positive
    return np.stack([*right, *right], axis=1).astype(float), np.stack(among, axis=1).astype(float)

"""Operating points: thresholds chosen on validation and applied to what is scored.

A radiograph is predicted positive at a probability of at least the threshold. Each rule considers
the probabilities that occur, and takes the highest threshold among equals. Youden 1950, "Index for
rating diagnostic tests", Cancer 3: sensitivity + specificity - 1.

A sensitivity of 0.90 on validation is below 0.90 on other patients about as often as above.
`sensitivity_90_confidence_95` takes an order statistic instead (Wilks 1941, "Determination of
sample sizes for setting tolerance limits", Annals of Mathematical Statistics 12). Of n patients
with a finding, the k-th lowest score is at or below the 10 % quantile of all such scores with the
probability that at least k of n fall there, which is binomial whatever the distribution; k is the
largest for which this is 0.95, and needs 29 patients to exist. Each patient counts once: the images
with the finding of one patient share a weight of 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from deepchest_cli.evaluation.calibration import EQUAL_SCORES, too_few_labels
from deepchest_cli.evaluation.metrics import Floats, Labels

TARGET = 0.90  # sensitivity or specificity, on validation
CONFIDENCE = 0.95  # that the sensitivity is `TARGET` on other patients, too
CONDITIONAL = (
    "Intervals of rates are conditional on the threshold: they describe other patients at this "
    "threshold, and leave out that another validation split would have chosen another one."
)
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
    patient_sensitivity: Floats  # where each patient with the finding counts once
    positive_patients: int


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen."""

    title: str
    choose: Callable[[Curve], float | str]  # or why no threshold will do


def _highest(curve: Curve, quality: Floats) -> float:
    equals = np.flatnonzero(quality >= quality.max() - ROUNDING)
    return float(curve.thresholds[equals[-1]])


def _sensitivity(curve: Curve) -> float:
    return float(curve.thresholds[np.flatnonzero(curve.sensitivity >= TARGET)[-1]])


def _specificity(curve: Curve) -> float | str:
    enough = np.flatnonzero(curve.specificity >= TARGET)
    if not len(enough):
        return f"no threshold has a specificity of {TARGET:.2f} on validation"
    return float(curve.thresholds[enough[0]])


def order_statistic(patients: int) -> int:
    """Return the k of the k-th lowest score that is a confident threshold; 0 of too few patients.

    The largest k with P(Binomial(patients, 1 - TARGET) >= k) >= CONFIDENCE.
    """
    k = np.arange(1, patients + 1)
    return int((special.bdtrc(k - 1, patients, 1 - TARGET) >= CONFIDENCE).sum())


def _confident_sensitivity(curve: Curve) -> float | str:
    k = order_statistic(curve.positive_patients)
    if not k:
        fewest = int(np.ceil(np.log(1 - CONFIDENCE) / np.log(TARGET)))
        return (
            f"fewer than {fewest} patients with the finding on validation "
            f"({curve.positive_patients})"
        )
    # at most k - 1 of the patients lie below
    target = 1 - (k - 1) / curve.positive_patients
    enough = np.flatnonzero(curve.patient_sensitivity >= target - ROUNDING)
    return float(curve.thresholds[enough[-1]])


RULES: dict[str, Rule] = {
    "youden": Rule("Youden", lambda curve: _highest(curve, curve.sensitivity + curve.specificity)),
    "sensitivity_90": Rule("sensitivity 0.90", _sensitivity),
    "sensitivity_90_confidence_95": Rule(
        "sensitivity 0.90 with 95 % confidence", _confident_sensitivity
    ),
    "specificity_90": Rule("specificity 0.90", _specificity),
    "best_f1": Rule("best F1", lambda curve: _highest(curve, curve.f1)),
}


def rate_curve(labels: Labels, probabilities: Floats, patient_id: NDArray[np.int64]) -> Curve:
    """Return the rates at every threshold that occurs; both classes have to be there.

    patient_id: (n,), the patient of each image.
    """
    thresholds, place = np.unique(probabilities, return_inverse=True)
    place = place.reshape(-1)

    def from_above(rows: NDArray[np.bool_], weights: Floats | None = None) -> Floats:
        """Return the images, or their weights, at or above each threshold (K,)."""
        at = np.bincount(place[rows], weights, len(thresholds)).astype(np.float64)
        return np.cumsum(at[::-1])[::-1]

    present = labels == 1
    _, owner, images = np.unique(patient_id[present], return_inverse=True, return_counts=True)
    true_positives, false_positives = from_above(present), from_above(~present)
    positives, negatives = true_positives[0], false_positives[0]
    return Curve(
        thresholds,
        true_positives / positives,
        1 - false_positives / negatives,
        2 * true_positives / (true_positives + false_positives + positives),
        from_above(present, 1 / images[owner.reshape(-1)]) / len(images),
        len(images),
    )


def choose_thresholds(
    labels: Labels, probabilities: Floats, patient_id: NDArray[np.int64]
) -> dict[str, float | str]:
    """Return the threshold of each rule, or why there is none."""
    scarce = too_few_labels(labels)
    if scarce:
        return dict.fromkeys(RULES, scarce)
    curve = rate_curve(labels, probabilities, patient_id)
    if len(curve.thresholds) == 1:
        return dict.fromkeys(RULES, EQUAL_SCORES)
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

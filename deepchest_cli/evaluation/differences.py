"""Differences of two metrics with intervals: paired ones, and those between groups of patients.

Two models on the same images: the patients' effect on both cancels in each replicate, and the
difference has the standard deviation of its replicates times sqrt(n / (n - 1)), with Student's t of
n - 1 degrees of freedom for n effective patients. Interval and p-value are one test, whose p-value
does not depend on the number of replicates: the bootstrap's own is at least 2 / (B + 1), which
Holm's correction multiplies by the number of findings, and rejects up to 9 % of true null
hypotheses at ten to twenty positive patients.

Two groups: from the interval of either, by the "method of variance estimates recovery" (Zou and
Donner 2008, "Construction of confidence limits about effect measures", Statistics in Medicine 27;
for rates Newcombe 1998), with the correlation of both in replicates of the same patients: one
patient may be in both groups, at two ages or in two views.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from deepchest_cli.evaluation.bootstrap import UNDEFINED
from deepchest_cli.evaluation.intervals import LEVEL
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.statistics import ROUNDING, Carriers, combined_carriers


@dataclass(frozen=True)
class PairedDifference:
    """A tested difference; NaN, None and a reason where there is no test."""

    value: float
    low: float = np.nan
    high: float = np.nan
    p: float | None = None
    not_tested: str | None = None


def paired_difference(value: float, replicates: Floats, carriers: Carriers) -> PairedDifference:
    """Return a difference of two metrics from 0 to 1 with interval and two-sided p-value.

    replicates: (B,), of the difference, NaN where it is undefined; carriers: the patients that
    carry the metric.
    """
    defined = replicates[np.isfinite(replicates)]
    reason = _why_not(value, defined, carriers)
    if reason:
        return PairedDifference(value, not_tested=reason)
    error = float(defined.std(ddof=1)) * math.sqrt(carriers.inflation)
    freedom = min(carriers.number, len(defined)) - 1
    half = float(special.stdtrit(freedom, 1 - LEVEL / 2)) * error
    p = float(2 * special.stdtr(freedom, -abs(value) / error))
    return PairedDifference(value, max(value - half, -1.0), min(value + half, 1.0), p)


def macro_carriers(replicates: Floats, patients: Floats) -> Carriers:
    """Return the patients behind a mean over findings.

    replicates: (B, T), patients: (T,), the effective numbers of each finding.
    """
    defined = np.isfinite(replicates)
    some = defined.sum(axis=0) > 1
    values = np.where(defined, replicates, np.nan)[:, some]
    variances = np.nanvar(values, axis=0, ddof=1) if some.any() else np.empty(0)
    return combined_carriers(np.asarray(patients)[some], variances)


def _why_not(value: float, replicates: Floats, carriers: Carriers) -> str:
    if not math.isfinite(value):
        return "the metric is undefined"
    if len(replicates) < 2:
        return "fewer than two bootstrap replicates"
    if replicates.std() < ROUNDING:
        return "it is the same in every bootstrap replicate"
    return carriers.too_few


def group_difference(
    one: Mapping[str, float],
    two: Mapping[str, float],
    replicates: tuple[Floats, Floats] | None = None,
) -> dict[str, float]:
    """Return the metric of one group minus that of another, with its interval.

    one, two: value, low and high; replicates: of either (B,), on the same resampled patients; None:
    the groups have no patient in common.
    """
    value = one["value"] - two["value"]
    if not math.isfinite(value):
        return dict(UNDEFINED)
    together = 0.0 if replicates is None else _correlation(*replicates)

    def reach(own: float, other: float) -> float:
        return math.sqrt(max(own**2 + other**2 - 2 * together * own * other, 0.0))

    below = reach(one["value"] - one["low"], two["high"] - two["value"])
    above = reach(one["high"] - one["value"], two["value"] - two["low"])
    return {"value": value, "low": value - below, "high": value + above}


def _correlation(one: Floats, two: Floats) -> float:
    """Return the correlation of replicates; 0 where one does not vary."""
    both = np.isfinite(one) & np.isfinite(two)
    if both.sum() < 2:
        return 0.0
    one, two = one[both], two[both]
    spread = float(one.std() * two.std())
    return float(((one - one.mean()) * (two - two.mean())).mean()) / spread if spread else 0.0

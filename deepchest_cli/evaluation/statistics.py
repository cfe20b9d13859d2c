"""Tests of differences: by seeds and patients at once, Holm's correction, verdicts, safe means.

The test of a difference between two weighters: each of S seeds gives one difference d_s of a
metric, weighter minus baseline, on the same P patients. Both seeds and patients are random:

    d_s = delta + seed_s + patients + interaction_s        (a mixed model)

- A = var(d_s) / S is the variance between seeds: of seeds, and of their interaction with patients.
- B is the variance that patients cause in all seeds alike: the variance of the mean difference
  under resampled patients, less its share that differs between seeds and is part of A already.

The standard error is sqrt(A + B): seeds and patients resampled together, nothing counted twice. The
reference distribution is Student's t with Satterthwaite's degrees of freedom, where A has S - 1. B
is the mean covariance of the S (S - 1) / 2 pairs of seeds and gets twice as many degrees: with
more, three seeds reject up to 7 % instead of 5 % of true null hypotheses, in simulations.

Assumptions: differences between seeds are about normal, the seeds represent those not run, and
patients are independent.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from deepchest_cli.evaluation.metrics import Floats

LEVEL = 0.05  # significance level; intervals cover 1 - LEVEL
MIN_SEEDS = 3  # the variance of two seeds rests on a single difference
MAX_SEEDS = 1000  # the largest number of seeds that is ever recommended
# Patients with and without a finding, for a test of this finding alone. With fewer, most replicates
# hold the same few patients and their variance is far too small: in simulations, one positive
# patient of 400 rejects 36 % of true null hypotheses, and five reject 5 %, as they should.
MIN_PATIENTS = 10

BETTER, EQUIVALENT, WORSE = "better", "equivalent", "worse"
INCONCLUSIVE, NOT_MEASURED = "inconclusive", "not measured"


@dataclass(frozen=True)
class Difference:
    """A mean difference with its components of variance; None where there is no test."""

    estimate: float
    seeds: int
    seed_variance: float | None = None  # of one seed's difference
    patient_variance: float | None = None  # of the mean difference, shared by all seeds
    interaction_variance: float | None = None  # of seed and patients, a part of `seed_variance`

    @property
    def standard_error(self) -> float | None:
        """The standard error of the estimate."""
        if self.seed_variance is None or self.patient_variance is None:
            return None
        return math.sqrt(self.seed_variance / self.seeds + self.patient_variance)

    def p_value(self) -> float | None:
        """Return the two-sided p-value of no difference."""
        return None if self.standard_error is None else self._p_value_with(self.seeds)

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the interval of coverage 1 - `level`."""
        if self.standard_error is None:
            return None
        half = float(stats.t.ppf(1 - level / 2, self._freedom(self.seeds))) * self.standard_error
        return self.estimate - half, self.estimate + half

    def seeds_needed(self, level: float = LEVEL) -> int | None:
        """Return how many seeds would make a difference of this size significant.

        None without an estimate of the error, and where the patients are too few for any number.
        """
        if self.standard_error is None or self.estimate == 0:
            return None
        counts = range(MIN_SEEDS, MAX_SEEDS + 1)
        # the p-value falls with the number of seeds: bisect for the first below the level
        index = bisect_left(counts, True, key=lambda n: self._p_value_with(n) < level)
        return counts[index] if index < len(counts) else None

    def _p_value_with(self, seeds: int) -> float:
        assert self.seed_variance is not None
        assert self.patient_variance is not None
        error = math.sqrt(self.seed_variance / seeds + self.patient_variance)
        if error == 0:  # the same in every seed and for every patient
            return 1.0 if self.estimate == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.estimate) / error, self._freedom(seeds)))

    def _freedom(self, seeds: int) -> float:
        """Return Satterthwaite's degrees of freedom for so many seeds."""
        assert self.seed_variance is not None
        assert self.patient_variance is not None
        own, shared = self.seed_variance / seeds, self.patient_variance
        if own + shared == 0:
            return math.inf
        return (own + shared) ** 2 / (own**2 / (seeds - 1) + shared**2 / (seeds * (seeds - 1)))


def difference(by_seed: Floats, by_replicate: Floats) -> Difference:
    """Return the mean of the seeds' differences (S,) with its error.

    by_replicate: (S, B), the differences under resampled patients, the same ones for all seeds.
    Below `MIN_SEEDS` there is an estimate without an error.
    """
    seeds, estimate = len(by_seed), float(np.mean(by_seed))
    if seeds < MIN_SEEDS or not np.isfinite(by_seed).all():
        return Difference(estimate, seeds)
    defined = by_replicate[:, np.isfinite(by_replicate).all(axis=0)]
    if defined.shape[1] < 2:
        return Difference(estimate, seeds)
    centered = defined - defined.mean(axis=1, keepdims=True)
    shared = centered.mean(axis=0).var(ddof=1)
    interaction = centered.var(axis=0, ddof=1).mean()  # caused by patients, different by seed
    patients = max(float(shared - interaction / seeds), 0.0)
    return Difference(
        estimate=estimate,
        seeds=seeds,
        seed_variance=float(np.var(by_seed, ddof=1)),
        patient_variance=patients,
        interaction_variance=float(interaction),
    )


def verdict(estimate: float, p_holm: float | None, lower_is_better: bool = False) -> str:
    """Return the verdict on a difference, given its corrected p-value; None: not tested."""
    if not math.isfinite(estimate):
        return NOT_MEASURED
    if p_holm is None or p_holm >= LEVEL:
        return INCONCLUSIVE
    return BETTER if (estimate < 0) == lower_is_better else WORSE


def half_width(values: Sequence[float], level: float = LEVEL) -> float:
    """Return half the width of the interval of a mean of a few values (n,), by Student's t."""
    count = len(values)
    factor = float(stats.t.ppf(1 - level / 2, count - 1))
    return factor * float(np.std(values, ddof=1)) / math.sqrt(count)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979); None is ignored and stays None."""
    tested = [i for i, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i] or 0.0)):
        largest = max(largest, min((p_values[i] or 0.0) * (len(tested) - rank), 1.0))
        corrected[i] = largest
    return corrected


def mean_of_defined(values: Floats) -> Floats:
    """Return the mean of the finite values over the last axis; NaN where there are none."""
    defined = np.isfinite(values)
    count = defined.sum(axis=-1)
    total = np.where(defined, values, 0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def min_of_defined(values: Floats) -> Floats:
    """Return the smallest finite value over the last axis; NaN where there are none."""
    smallest = np.where(np.isfinite(values), values, np.inf).min(axis=-1)
    return np.asarray(np.where(np.isfinite(smallest), smallest, np.nan))

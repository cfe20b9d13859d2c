"""The test of a difference between two weighters, by seeds and patients at once.

Each of S seeds gives one difference d_s of a metric, weighter minus baseline, on the same P
patients. Two things vary: what training makes of a seed, and who the patients are.

    d_s = delta + seed_s + patients + interaction_s        (a mixed model)

- A = var(d_s) / S holds what differs from seed to seed: seeds, and seeds with patients.
- B holds what the patients do to all seeds alike: the variance of the mean difference when
  patients are resampled, less the part of it that differs between seeds and stands in A already.

The standard error is the root of A + B, that of resampling seeds and patients together with
nothing counted twice; the reference is Student's t with Satterthwaite's degrees of freedom, where
A has S - 1. B is the mean covariance of the S (S - 1) / 2 pairs of seeds and gets twice as many:
with more, three seeds reject up to 7 % where 5 % are meant, in simulations.

Assumed are differences between seeds that are about normal, seeds that stand for those not run,
and patients drawn independently.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from deepchest_cli.evaluation.metrics import Floats

LEVEL = 0.05  # of the tests; intervals have the coverage that is left
FEWEST_SEEDS = 3  # two seeds' variance rests on a single difference
MOST_SEEDS = 1000  # that anybody is advised to run


@dataclass(frozen=True)
class Difference:
    """A mean difference and what is known of its error; None where there is no test."""

    estimate: float
    seeds: int
    seed_variance: float | None = None  # of one seed's difference
    patient_variance: float | None = None  # of the mean difference, shared by all seeds
    interaction_variance: float | None = None  # of one seed's, by patients, within `seed_variance`

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
        reach = float(stats.t.ppf(1 - level / 2, self._freedom(self.seeds))) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def seeds_needed(self, level: float = LEVEL) -> int | None:
        """Return how many seeds would tell a difference of this size from none.

        None where there is no estimate of the error, or the patients are too few for any number.
        """
        if self.standard_error is None or self.estimate == 0:
            return None
        counts = range(FEWEST_SEEDS, MOST_SEEDS + 1)
        # the p-value falls with the number of seeds: the first below the level by halving
        place = bisect_left(counts, True, key=lambda n: self._p_value_with(n) < level)
        return counts[place] if place < len(counts) else None

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

    by_replicate: (S, B), the same differences under resampled patients, the same ones for all
    seeds. Below `FEWEST_SEEDS` there is an estimate and no error.
    """
    seeds, estimate = len(by_seed), float(np.mean(by_seed))
    if seeds < FEWEST_SEEDS or not np.isfinite(by_seed).all():
        return Difference(estimate, seeds)
    defined = by_replicate[:, np.isfinite(by_replicate).all(axis=0)]
    if defined.shape[1] < 2:
        return Difference(estimate, seeds)
    centerd = defined - defined.mean(axis=1, keepdims=True)
    shared = centerd.mean(axis=0).var(ddof=1)
    own = centerd.var(axis=0, ddof=1).mean()  # of the patients, differing between seeds
    patients = max(float(shared - own / seeds), 0.0)
    return Difference(estimate, seeds, float(np.var(by_seed, ddof=1)), patients, float(own))


def half_width(values: Sequence[float], level: float = LEVEL) -> float:
    """Return half the width of the interval of a mean of a few values (n,), by Student's t."""
    count = len(values)
    factor = float(stats.t.ppf(1 - level / 2, count - 1))
    return factor * float(np.std(values, ddof=1)) / math.sqrt(count)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number (Holm 1979); those that are None take no part."""
    tested = [i for i, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, i in enumerate(sorted(tested, key=lambda i: p_values[i] or 0.0)):
        largest = max(largest, min((p_values[i] or 0.0) * (len(tested) - place), 1.0))
        corrected[i] = largest
    return corrected

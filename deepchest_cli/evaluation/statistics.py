"""Tests of differences: by seeds and patients at once, margins, Holm's correction, verdicts.

The test of a difference between two weighters: each of S seeds gives one difference d_s of a
metric, weighter minus baseline, on the same patients. Both seeds and patients are random:

    d_s = delta + seed_s + patients + interaction_s        (a mixed model)

- A = var(d_s) / S is the variance between seeds: of seeds, and of their interaction with patients.
- B is the variance that patients cause in all seeds alike: the variance of the mean difference
  under resampled patients, less its share that differs between seeds and is part of A already,
  times n / (n - 1), where n is the effective number of patients that carry the metric. In a mean
  over findings, each finding's part is multiplied by its own n / (n - 1).

The standard error is sqrt(A + B): seeds and patients resampled together, nothing counted twice. The
critical value is that of Cochran and Cox (1950, Experimental Designs), the mean of Student's t with
S - 1 and with n - 1 degrees of freedom, weighted by A and B. Satterthwaite's degrees of freedom
reject up to 7 % of true null hypotheses at three seeds, since A is so uncertain there.

Equivalence is tested by two one-sided tests against the margin (Schuirmann 1987, Journal of
Pharmacokinetics and Biopharmaceutics 15).

Assumptions: differences between seeds are about normal, the seeds represent those not run, and
patients are independent. `outlying` finds seeds that contradict the first.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from deepchest_cli.evaluation.metrics import Floats

LEVEL = 0.05  # significance level; intervals cover 1 - LEVEL
POWER = 0.8  # with which `seeds_needed` finds a difference as large as the margin
MIN_SEEDS = 3  # the variance of two seeds rests on a single difference
MAX_SEEDS = 1000  # the largest number of seeds that is ever recommended
MAX_PATIENTS_FACTOR = 100  # by which the patients of a test split may have to grow, likewise
# Patients with and without a finding, for a test of this finding alone. With fewer, most replicates
# hold the same few patients and their variance is far too small: in simulations, one positive
# patient of 400 rejects 36 % of true null hypotheses.
MIN_PATIENTS = 10
# robust standard deviations from the median of its weighter's seeds, beyond which a seed is
# outlying: of normal seeds, 0.6 % of comparisons have one at the most, where weighters vary alike
OUTLYING = 8.0
TO_SD = 1.4826  # from the median distance to the standard deviation of normal values
OWN_SCALE = 4  # distances that give a weighter a scale of its own
ROUNDING = 1e-12  # differences nearer to each other are the same
SMALLEST_P = 1e-50  # quantiles further out are not exact

FEW_PATIENTS = f"the difference rests mostly on findings of fewer than {MIN_PATIENTS} patients"
SAME = "the difference is the same in every seed and for every patient"  # a reason for no test

BETTER, EQUIVALENT, WORSE = "better", "equivalent", "worse"
INCONCLUSIVE, NOT_MEASURED = "inconclusive", "not measured"


@dataclass(frozen=True)
class Carriers:
    """The effective patients that carry a metric."""

    number: float  # one more than the degrees of freedom of the variance that they cause
    inflation: float = 1.0  # of that variance, which is too small under resampled patients
    too_few: str = ""  # why they are too few for a test

    @classmethod
    def of(cls, number: float) -> "Carriers":
        """Return so many alike patients."""
        if number < 2:
            return cls(number, too_few="too few patients carry the metric")
        return cls(number, 1.0 if math.isinf(number) else number / (number - 1))


@dataclass(frozen=True)
class Difference:
    """A mean difference with its components of variance; None where there is no test."""

    estimate: float
    seeds: int
    seed_variance: float | None = None  # of one seed's difference
    patient_variance: float | None = None  # of the mean difference, shared by all seeds
    interaction_variance: float | None = None  # of seed and patients, a part of `seed_variance`
    patients: float = math.inf  # as `Carriers.number`
    untested: str = ""  # why there is no test

    @property
    def standard_error(self) -> float | None:
        """The standard error of the estimate."""
        return None if self.seed_variance is None else math.sqrt(sum(self._parts(self.seeds)))

    def p_value(self) -> float | None:
        """Return the two-sided p-value of no difference."""
        error = self.standard_error
        return None if error is None else self._two_sided(abs(self.estimate) / error)

    def p_above(self, bound: float) -> float | None:
        """Return the one-sided p-value of a difference of at most `bound`."""
        error = self.standard_error
        return None if error is None else self._one_sided((self.estimate - bound) / error)

    def p_below(self, bound: float) -> float | None:
        """Return the one-sided p-value of a difference of at least `bound`."""
        error = self.standard_error
        return None if error is None else self._one_sided((bound - self.estimate) / error)

    def p_equivalence(self, margin: float) -> float | None:
        """Return the p-value of a difference that is at least `margin` in either direction."""
        above, below = self.p_above(-margin), self.p_below(margin)
        return None if above is None or below is None else max(above, below)

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Return the interval of coverage 1 - `level`."""
        if self.standard_error is None:
            return None
        half = self._critical(level, self.seeds) * self.standard_error
        return self.estimate - half, self.estimate + half

    def seeds_needed(self, margin: float, level: float = LEVEL, power: float = POWER) -> int | None:
        """Return how many seeds find a true difference of `margin` with the given power.

        None without an estimate of the error or a margin, and where more than `MAX_SEEDS` would be
        needed, or the patients are too few for any number: see `power_of_any_seeds`.
        """
        if self.standard_error is None or margin <= 0:
            return None
        counts = range(MIN_SEEDS, MAX_SEEDS + 1)
        index = bisect_left(counts, power, key=lambda n: self._power(margin, level, n))
        return counts[index] if index < len(counts) else None

    def detectable(self, level: float = LEVEL, power: float = POWER) -> float | None:
        """Return the true difference that these seeds find with the given power, and no smaller.

        None without an estimate of the error.
        """
        error = self.standard_error
        if not error:
            return None
        most = error
        while self._power(most, level, self.seeds) < power:
            most *= 2
        return float(
            optimize.brentq(lambda size: self._power(size, level, self.seeds) - power, 0.0, most)
        )

    def power_of_any_seeds(self, margin: float, level: float = LEVEL) -> float | None:
        """Return the power that no number of seeds exceeds; None as for `seeds_needed`."""
        if self.standard_error is None or margin <= 0:
            return None
        return self._power(margin, level, 10**9)

    def patients_factor_needed(
        self, margin: float, level: float = LEVEL, power: float = POWER
    ) -> float | None:
        """Return how many times as many test patients, with these seeds, find what seeds would.

        In tenths, at least 1. More patients of the same population make what they cause smaller,
        in all seeds alike and in single ones: both variances are divided by the factor. What the
        seeds cause by themselves stays. None as for `seeds_needed`, at `MAX_PATIENTS_FACTOR`.
        """
        if self.standard_error is None or margin <= 0:
            return None
        tenths = range(10, 10 * MAX_PATIENTS_FACTOR + 1)
        index = bisect_left(
            tenths,
            power,
            key=lambda n: self._with_patients(n / 10)._power(margin, level, self.seeds),
        )
        return tenths[index] / 10 if index < len(tenths) else None

    def _with_patients(self, factor: float) -> "Difference":
        """Return the expected components with `factor` times as many patients."""
        assert self.seed_variance is not None
        assert self.patient_variance is not None
        # a variance of few seeds may be estimated smaller than its part
        part = min(self.interaction_variance or 0.0, self.seed_variance)
        return replace(
            self,
            seed_variance=self.seed_variance - part + part / factor,
            patient_variance=self.patient_variance / factor,
            patients=self.patients * factor,
        )

    def _parts(self, seeds: int) -> tuple[float, float]:
        """Return the variances A and B of the mean over so many seeds."""
        assert self.seed_variance is not None
        assert self.patient_variance is not None
        return self.seed_variance / seeds, self.patient_variance

    def _critical(self, level: float, seeds: int) -> float:
        """Return the two-sided critical value of Cochran and Cox."""
        own, shared = self._parts(seeds)
        of_seeds = -special.stdtrit(seeds - 1, level / 2)
        of_patients = -_student_quantile(self.patients - 1, level / 2)
        return float((own * of_seeds + shared * of_patients) / (own + shared))

    def _one_sided(self, value: float) -> float:
        """Return the p-value of a test statistic whose large values speak against the null."""
        half = self._two_sided(abs(value)) / 2
        return half if value > 0 else 1 - half

    def _two_sided(self, value: float) -> float:
        """Return the p-value, at least `SMALLEST_P`, whose critical value is the test statistic."""
        if value >= self._critical(SMALLEST_P, self.seeds):
            return SMALLEST_P

        def distance(log_level: float) -> float:
            return self._critical(math.exp(log_level), self.seeds) - value

        found = optimize.brentq(distance, math.log(SMALLEST_P), 0.0)
        return math.exp(found)

    def _power(self, margin: float, level: float, seeds: int) -> float:
        """Return the chance to find a difference of `margin`."""
        own, shared = self._parts(seeds)
        weights = own**2 / (seeds - 1) + shared**2 / (self.patients - 1)
        freedom = (own + shared) ** 2 / weights
        distance = margin / math.sqrt(own + shared)
        return float(stats.nct.sf(self._critical(level, seeds), freedom, distance))


def _student_quantile(freedom: float, probability: float) -> float:
    if math.isinf(freedom):
        return float(special.ndtri(probability))
    return float(special.stdtrit(freedom, probability))


def difference(
    by_seed: Floats, by_replicate: Floats, carriers: Carriers = Carriers(math.inf)
) -> Difference:
    """Return the mean of the seeds' differences (S,) with its error.

    by_replicate: (S, B), the differences under resampled patients, the same ones for all seeds.
    carriers: the patients that carry the metric. Without a test there is an estimate and the
    reason.
    """
    seeds, estimate = len(by_seed), float(np.mean(by_seed))
    if not np.isfinite(by_seed).all():
        return Difference(estimate, seeds, untested="the metric is undefined")
    if seeds < MIN_SEEDS:
        return Difference(estimate, seeds, untested=f"a test takes {MIN_SEEDS} or more seeds")
    defined = by_replicate[:, np.isfinite(by_replicate).all(axis=0)]
    centered = defined - defined.mean(axis=1, keepdims=True) if defined.size else defined
    if max(np.ptp(by_seed), np.ptp(centered) if centered.size else 0.0) < ROUNDING:
        return Difference(estimate, seeds, untested=SAME)
    if carriers.too_few or defined.shape[1] < 2:
        reason = carriers.too_few or "too few patients carry the metric"
        return Difference(estimate, seeds, untested=reason)
    shared = centered.mean(axis=0).var(ddof=1)
    interaction = float(centered.var(axis=0, ddof=1).mean())  # caused by patients, differs by seed
    # the very same difference in all seeds is a coincidence of few images, and no lack of variance
    own = interaction if np.ptp(by_seed) < ROUNDING else float(np.var(by_seed, ddof=1))
    return Difference(
        estimate=estimate,
        seeds=seeds,
        seed_variance=own,
        patient_variance=max(float(shared - interaction / seeds), 0.0) * carriers.inflation,
        interaction_variance=interaction,
        patients=carriers.number,
    )


def combined_carriers(patients: Floats, variances: Floats | None = None) -> Carriers:
    """Return the patients behind a mean of metrics that so many patients (T,) carry each.

    By Satterthwaite (1946, Biometrics Bulletin 2). variances: (T,), of the metrics; without them
    each is taken as inversely proportional to its patients. A metric without patients is not in
    the mean. Too few are patients where most of the variance is that of metrics with fewer than
    `MIN_PATIENTS`: in simulations, means over findings of three patients each reject 15 % of true
    null hypotheses.
    """
    carrying = np.maximum(patients[patients > 0], 1)
    if not len(carrying):
        return Carriers.of(0)
    expected = 1 / carrying
    shares = expected if variances is None else variances[patients > 0]
    if not shares.sum() > 0:
        shares = expected
    freedom = np.maximum(carrying - 1, 1)
    few = expected[carrying < MIN_PATIENTS].sum() > expected.sum() / 2
    return Carriers(
        number=1 + float(shares.sum() ** 2 / (shares**2 / freedom).sum()),
        inflation=float((shares * carrying / freedom).sum() / shares.sum()),
        too_few=FEW_PATIENTS if few else "",
    )


def combined_groups(parts: Sequence[Carriers]) -> Carriers:
    """Return the patients behind a mean of one metric of several groups of patients.

    As in `combined_carriers`, each group's variance is taken as inversely proportional to its
    patients, and the mean is not tested where most of it is that of groups with too few.
    """
    if len(parts) == 1:
        return parts[0]
    numbers = np.maximum([part.number for part in parts], 1)
    shares = 1 / numbers / (1 / numbers).sum()
    freedom = np.maximum(numbers - 1, 1)
    few = [(share, part.too_few) for share, part in zip(shares, parts, strict=True) if part.too_few]
    return Carriers(
        number=1 + float(1 / (shares**2 / freedom).sum()),
        inflation=float(shares @ [part.inflation for part in parts]),
        too_few=few[0][1] if sum(share for share, _ in few) > 1 / 2 else "",
    )


def verdict(
    estimate: float,
    p_holm: float | None,
    p_equivalence: float | None = None,
    lower_is_better: bool = False,
) -> str:
    """Return the verdict on a difference, given corrected p-values; None: not tested.

    A difference that is smaller than the margin is equivalent, also where it is significant.
    """
    if not math.isfinite(estimate):
        return NOT_MEASURED
    if p_equivalence is not None and p_equivalence < LEVEL:
        return EQUIVALENT
    if p_holm is None or p_holm >= LEVEL:
        return INCONCLUSIVE
    return BETTER if (estimate < 0) == lower_is_better else WORSE


def outlying(by_seed: Sequence[Floats], at_least: float) -> list[NDArray[np.bool_]]:
    """Return which seeds of each weighter (S,) are outlying, such as those of a collapsed run.

    The scale is the median distance to the weighter's own median over all weighters and seeds, so
    that a few collapsed runs among many do not hide each other; of two weighters with three seeds,
    one of each does. A weighter of five seeds or more that varies more than others has its own
    scale. at_least: smaller distances are never outlying.
    """
    distances = [np.abs(values - np.median(values)) for values in by_seed]
    # with an odd number of seeds one of them is the median itself
    others = [np.sort(values)[len(values) % 2 :] for values in distances]
    common = float(np.median(np.concatenate(others)))
    scales = [
        max(common, float(np.median(own))) if len(own) >= OWN_SCALE else common for own in others
    ]
    return [
        values > max(OUTLYING * TO_SD * scale, at_least)
        for values, scale in zip(distances, scales, strict=True)
    ]


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

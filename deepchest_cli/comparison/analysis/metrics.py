"""The metrics that weighters are compared by, their differences and tests."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from deepchest_cli.comparison.analysis.scores import METRICS, Samples, Scores
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.statistics import (
    LEVEL,
    MIN_PATIENTS,
    MIN_SEEDS,
    ROUNDING,
    Carriers,
    Difference,
    combined_carriers,
    combined_groups,
    difference,
    holm,
    mean_of_defined,
    min_of_defined,
    outlying,
    verdict,
)

LOWER_IS_BETTER = ("loss",)
CHANCE_AUROC = 0.5
Rows = dict[str, Any]  # what was found of a difference, by metric
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class SummaryMetric:
    """A metric of a whole model, reduced from a metric of its findings.

    Of several data sets it is the mean over those where it is defined, each with the same weight.
    """

    name: str
    title: str
    metric: str
    reduce: Callable[[Floats], Floats]  # (..., T) to (...)
    combine: Callable[[Floats], Carriers] = combined_carriers  # of each finding's patients (T,)

    def of(self, scores: Scores) -> Samples:
        """Return the metric of a weighter."""
        found = [self._of_one(one) for one in self._measured(scores)]
        by_seed, by_replicate = (np.stack(several) for several in zip(*found, strict=True))
        return by_seed.mean(axis=0), by_replicate.mean(axis=0)

    def carriers(self, scores: Scores) -> Carriers:
        """Return the effective patients that carry the metric."""
        return combined_groups([self._carriers_of_one(one) for one in self._measured(scores)])

    def _measured(self, scores: Scores) -> Sequence[Scores]:
        """Return the scores of the data sets where the metric is defined; of all if of none."""
        every = scores.by_data_set
        return [one for one in every if np.isfinite(self._of_one(one)[0]).all()] or every

    def _of_one(self, scores: Scores) -> Samples:
        values, replicates = scores.values[self.metric], scores.replicates[self.metric]
        return self.reduce(values), self.reduce(replicates)

    def _carriers_of_one(self, scores: Scores) -> Carriers:
        found = self.combine(scores.effective[self.metric])
        return replace(found, number=min(found.number, float(scores.effective["loss"].max())))


MACRO_AUROC = SummaryMetric("macro_auroc", "Macro AUROC", "auroc", mean_of_defined)
MACRO_ACCURACY = SummaryMetric("macro_accuracy", "Accuracy", "accuracy", mean_of_defined)


def summary_metrics(rarest: NDArray[np.int64]) -> tuple[SummaryMetric, ...]:
    """Return the metrics that models are compared by, the primary one first.

    rarest: columns of the rarest tertile of findings.
    """

    def over_rarest(values: Floats) -> Floats:
        return mean_of_defined(values[..., rarest])

    def of_rarest(patients: Floats) -> Carriers:
        return combined_carriers(patients[rarest])

    def of_worst(patients: Floats) -> Carriers:
        return Carriers.of(float(patients.min(initial=np.inf, where=patients > 0)))

    return (
        MACRO_AUROC,
        SummaryMetric("macro_average_precision", "Macro AP", "average_precision", mean_of_defined),
        MACRO_ACCURACY,
        SummaryMetric("macro_f1", "Macro F1", "f1", mean_of_defined),
        SummaryMetric("macro_loss", "Loss", "loss", mean_of_defined),
        SummaryMetric(
            "worst_auroc", "AUROC of the worst finding", "auroc", min_of_defined, of_worst
        ),
        SummaryMetric(
            "rarest_tertile_auroc", "AUROC of the rarest tertile", "auroc", over_rarest, of_rarest
        ),
    )


def rarest_tertile(positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the columns of the third of findings (T,) with the fewest training positives."""
    return np.argsort(positives, kind="stable")[: max(round(len(positives) / 3), 1)]


def describe(samples: Samples) -> dict[str, Any]:
    """Return the mean and the SD over seeds, and the interval of the mean over patients."""
    by_seed, by_replicate = samples
    means = by_replicate.mean(axis=0)
    means = means[np.isfinite(means)]
    low, high = np.nan, np.nan
    if len(means) and np.ptp(means) > ROUNDING:  # equal replicates say nothing of other patients
        low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return {
        "mean": float(by_seed.mean()),
        "sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        "low": float(low),
        "high": float(high),
        "by_seed": by_seed.tolist(),
    }


def finding_metrics(scores: Scores, findings: Sequence[str]) -> dict[str, Any]:
    """Return each finding's metrics."""
    return {
        finding: {metric: describe(scores.of_finding(metric, i)) for metric in METRICS}
        for i, finding in enumerate(findings)
    }


def outlying_runs(arms: Mapping[str, Scores], margin: float) -> dict[str, list[int]]:
    """Return the places of seeds, by arm, whose macro AUROC is far from that of the other seeds."""
    values = {label: MACRO_AUROC.of(scores)[0] for label, scores in arms.items()}
    able = {label: v for label, v in values.items() if np.isfinite(v).all() and len(v) >= MIN_SEEDS}
    if not able:
        return {}
    found = zip(able, outlying(list(able.values()), margin), strict=True)
    return {label: np.flatnonzero(marks).tolist() for label, marks in found if marks.any()}


def differences(
    arms: Mapping[str, Scores],
    baseline: Scores,
    metrics: Sequence[SummaryMetric],
    margin: float,
    outlying_seeds: Mapping[str, Sequence[int]],
) -> dict[str, Rows]:
    """Return the differences to the baseline by arm and metric, corrected over the arms.

    outlying_seeds: places of seeds that are outlying in an arm or in the baseline, by arm. The rows
    of such an arm also have what is found without these seeds.
    """
    pairs = {label: (scores, baseline) for label, scores in arms.items()}
    return _families(pairs, metrics, margin, outlying_seeds)


def data_set_differences(
    arms: Mapping[str, Scores],
    baseline: Scores,
    metrics: Sequence[SummaryMetric],
    margin: float,
    outlying_seeds: Mapping[str, Sequence[int]],
) -> dict[tuple[str, int], Rows]:
    """Return the differences in each of several data sets, by arm and number of the data set.

    They are corrected over all arms in all data sets: whoever looks for the best of them looks at
    all. None for a single data set, whose differences are those of `differences`.
    """
    pairs = {
        (label, number): (one, other)
        for label, scores in arms.items()
        for number, (one, other) in enumerate(zip(scores.of_each, baseline.of_each, strict=True))
    }
    dropped = {key: outlying_seeds[key[0]] for key in pairs if key[0] in outlying_seeds}
    return _families(pairs, metrics, margin, dropped)


def _families(
    pairs: Mapping[Key, tuple[Scores, Scores]],
    metrics: Sequence[SummaryMetric],
    margin: float,
    outlying_seeds: Mapping[Key, Sequence[int]],
) -> dict[Key, Rows]:
    """Return the rows of each pair by metric; those of a metric are a family of tests."""
    tables: dict[Key, Rows] = {key: {} for key in pairs}
    for metric in metrics:
        rows = _family(pairs, metric, margin, {})
        without = _family(pairs, metric, margin, outlying_seeds)
        for key, row, other in zip(pairs, rows, without, strict=True):
            row["without_outlying_seeds"] = other if key in outlying_seeds else None
            tables[key][metric.name] = row
    return tables


def _family(
    pairs: Mapping[Key, tuple[Scores, Scores]],
    metric: SummaryMetric,
    margin: float,
    dropped: Mapping[Key, Sequence[int]],
) -> list[dict[str, Any]]:
    """Return the row of each pair by one metric, without the seeds that are dropped."""
    family = [
        paired(
            _without(metric.of(scores), dropped.get(key, ())),
            _without(metric.of(baseline), dropped.get(key, ())),
            metric.carriers(baseline),
        )
        for key, (scores, baseline) in pairs.items()
    ]
    is_auroc = metric.metric == "auroc"
    return tested(family, metric.metric in LOWER_IS_BETTER, margin if is_auroc else None)


def _without(samples: Samples, seeds: Sequence[int]) -> Samples:
    by_seed, by_replicate = samples
    kept = [i for i in range(len(by_seed)) if i not in seeds]
    return by_seed[kept], by_replicate[kept]


def finding_differences(
    scores: Scores, baseline: Scores, findings: Sequence[str], margin: float
) -> dict[str, dict[str, Any]]:
    """Return an arm's differences by finding and metric, corrected over the findings.

    A finding with fewer than `MIN_PATIENTS` on either side is not tested by any metric.
    """
    tables: dict[str, dict[str, Any]] = {finding: {} for finding in findings}
    for metric in METRICS:
        pairs = [finding_difference(scores, baseline, metric, i) for i in range(len(findings))]
        rows = tested(pairs, metric in LOWER_IS_BETTER, margin if metric == "auroc" else None)
        for finding, row in zip(findings, rows, strict=True):
            tables[finding][metric] = row
    return tables


def finding_difference(scores: Scores, baseline: Scores, metric: str, column: int) -> Difference:
    """Return the difference of a finding's metric; untested where too few patients have it."""
    carriers = Carriers.of(scores.effective[metric][column])
    if scores.patients[:, column].min() < MIN_PATIENTS:
        few = f"fewer than {MIN_PATIENTS} patients have the finding, or have it not"
        carriers = replace(carriers, too_few=few)
    return paired(scores.of_finding(metric, column), baseline.of_finding(metric, column), carriers)


def paired(samples: Samples, baseline: Samples, carriers: Carriers) -> Difference:
    """Return the difference to the baseline, paired by seed and by patient."""
    return difference(samples[0] - baseline[0], samples[1] - baseline[1], carriers)


def tested(
    family: Sequence[Difference], lower_is_better: bool, margin: float | None
) -> list[dict[str, Any]]:
    """Return a family of differences with p-values and intervals corrected for their number.

    `low` and `high` are simultaneous over the family, `single_low` and `single_high` of this
    difference alone. margin: smaller differences are equivalent; None for a metric of another unit.
    """
    p_values = [one.p_value() for one in family]
    equivalence = [None if margin is None else one.p_equivalence(margin) for one in family]
    tests = sum(p is not None for p in p_values)
    rows = []
    for one, p, p_holm, p_equivalence in zip(
        family, p_values, holm(p_values), holm(equivalence), strict=True
    ):
        strictest = LEVEL / max(tests, 1)  # Bonferroni: all intervals hold at once
        low, high = one.interval(strictest) or (None, None)
        single_low, single_high = one.interval() or (None, None)
        rows.append(
            {
                "estimate": one.estimate,
                "low": low,
                "high": high,
                "single_low": single_low,
                "single_high": single_high,
                "p": p,
                "p_holm": p_holm,
                "p_equivalence_holm": p_equivalence,
                "verdict": verdict(one.estimate, p_holm, p_equivalence, lower_is_better),
                "untested": one.untested or None,
                "seeds": one.seeds,
                "seeds_needed": one.seeds_needed(margin or 0.0, strictest),
                "power_of_any_seeds": one.power_of_any_seeds(margin or 0.0, strictest),
                "patients_factor_needed": one.patients_factor_needed(margin or 0.0, strictest),
                "effective_patients": None if p is None else one.patients,
                "seed_variance": one.seed_variance,
                "patient_variance": one.patient_variance,
                "interaction_variance": one.interaction_variance,
            }
        )
    return rows


def mean_ranks(arms: Mapping[str, Scores]) -> dict[str, float]:
    """Return the mean over the findings of each arm's rank by AUROC; 1 is the best.

    The ranks depend on which arms are compared.
    """
    table = np.stack([scores.values["auroc"].mean(axis=0) for scores in arms.values()])  # (M, T)
    defined = np.isfinite(table).all(axis=0)
    if not defined.any():
        return dict.fromkeys(arms, float("nan"))
    ranks = rankdata(-table[:, defined], axis=0)
    return dict(zip(arms, ranks.mean(axis=1).tolist(), strict=True))


def delta_m(scores: Scores, single_task: Scores, findings: Sequence[str]) -> dict[str, Any]:
    """Return Delta-m in percent relative to models of one finding each: positive is better.

    It is the mean over the findings of (M - B) / B, where M and B are the mean AUROC over the
    seeds. `chance_corrected` takes AUROC - 0.5 in the denominator, over findings with B > 0.5.
    """
    values, base = (one.values["auroc"].mean(axis=0) for one in (scores, single_task))
    undefined = np.full(len(base), np.nan)  # an AUROC of 0, as of few images, has no relative one
    percent = np.divide(100 * (values - base), base, out=undefined, where=base > 0)
    defined = np.flatnonzero(np.isfinite(percent))
    if not len(defined):
        return {
            "mean": None, "median": None, "worst_finding": None, "chance_corrected": None,
            "findings": {},
        }  # fmt: skip
    worst = defined[np.argmin(percent[defined])]
    return {
        "mean": float(percent[defined].mean()),
        "median": float(np.median(percent[defined])),
        "worst_finding": {"finding": findings[worst], "percent": float(percent[worst])},
        "chance_corrected": _chance_corrected(values, base),
        "findings": {name: float(percent[i]) for i, name in enumerate(findings)},
    }


def _chance_corrected(values: Floats, base: Floats) -> float | None:
    able = np.isfinite(values) & (base > CHANCE_AUROC)
    if not able.any():
        return None
    return float((100 * (values - base)[able] / (base[able] - CHANCE_AUROC)).mean())

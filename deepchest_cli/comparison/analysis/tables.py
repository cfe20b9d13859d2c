"""Figures, intervals and tested differences as plain values, for JSON, tables and pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deepchest_cli.comparison.analysis.scores import (
    LOWER_IS_BETTER,
    METRICS,
    OF_POSITIVES,
    Quantity,
    Scores,
)
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.statistics import (
    FEWEST_SEEDS,
    LEVEL,
    Difference,
    difference,
    holm,
)

# with and without a finding, for a test of it alone: with fewer, replicates hold the same few
# patients over and over, and their variance is much too small (simulated: with one positive patient
# of 400, 36 % of true null hypotheses are rejected; with five, as many as there should be)
FEWEST_PATIENTS = 10
BETTER, WORSE, OPEN = "better", "worse", "inconclusive"


def figure(by_seed: Floats, by_replicate: Floats) -> dict[str, Any]:
    """Return the mean over seeds (S,), their deviation, and the interval by patients (S, B)."""
    means = by_replicate.mean(axis=0)
    means = means[np.isfinite(means)]
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2]) if len(means) else (np.nan, np.nan)
    return {
        "mean": float(by_seed.mean()),
        "sd": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None,
        "low": float(low),
        "high": float(high),
        "by_seed": by_seed.tolist(),
    }


def quality(scores: Scores, measured: Sequence[Quantity]) -> dict[str, Any]:
    """Return each quantity's figure."""
    return {quantity.name: figure(*quantity.of(scores)) for quantity in measured}


def finding_quality(scores: Scores, findings: Sequence[str]) -> dict[str, Any]:
    """Return each finding's figure by every metric."""
    return {
        finding: {
            metric: figure(scores.values[metric][:, i], scores.replicates[metric][:, :, i])
            for metric in METRICS
        }
        for i, finding in enumerate(findings)
    }


def differences(
    arms: Mapping[str, Scores], baseline: Scores, measured: Sequence[Quantity]
) -> dict[str, dict[str, Any]]:
    """Return the differences to the baseline by arm and quantity, corrected over the arms."""
    tables: dict[str, dict[str, Any]] = {label: {} for label in arms}
    for quantity in measured:
        found = [paired(quantity.of, scores, baseline) for scores in arms.values()]
        rows = tested(found, quantity.metric in LOWER_IS_BETTER)
        for label, row in zip(arms, rows, strict=True):
            tables[label][quantity.name] = row
    return tables


def finding_differences(
    scores: Scores, baseline: Scores, findings: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return one arm's differences by finding and metric, corrected over the findings.

    A finding that too few patients have, or have not, is not tested by metrics of its positives.
    """
    tables: dict[str, dict[str, Any]] = {finding: {} for finding in findings}
    scarce = scores.patients.min(axis=0) < FEWEST_PATIENTS
    for metric in METRICS:
        found = [paired(_column(metric, i), scores, baseline) for i in range(len(findings))]
        if metric in OF_POSITIVES:
            pairs = zip(found, scarce.tolist(), strict=True)
            found = [Difference(one.estimate, one.seeds) if few else one for one, few in pairs]
        rows = tested(found, metric in LOWER_IS_BETTER)
        for finding, row in zip(findings, rows, strict=True):
            tables[finding][metric] = row
    return tables


Reading = Callable[[Scores], tuple[Floats, Floats]]  # seeds (S,) and replicates (S, B)


def _column(metric: str, column: int) -> Reading:
    return lambda scores: (
        scores.values[metric][:, column],
        scores.replicates[metric][:, :, column],
    )


def paired(reading: Reading, scores: Scores, baseline: Scores) -> Difference:
    """Return the difference of what is read of both, seed by seed and patient by patient."""
    mine, others = reading(scores), reading(baseline)
    return difference(mine[0] - others[0], mine[1] - others[1])


def tested(found: Sequence[Difference], lower_is_better: bool) -> list[dict[str, Any]]:
    """Return a family of differences with p-values corrected for their number."""
    raw = [one.p_value() for one in found]
    rows = []
    for one, p, corrected in zip(found, raw, holm(raw), strict=True):
        low, high = one.interval() or (None, None)
        rows.append(
            {
                "estimate": one.estimate,
                "low": low,
                "high": high,
                "p": p,
                "p_holm": corrected,
                "verdict": _verdict(one.estimate, corrected, lower_is_better),
                "seeds": one.seeds,
                "seeds_needed": _seeds_needed(one, len(found)),
                "seed_variance": one.seed_variance,
                "patient_variance": one.patient_variance,
                "interaction_variance": one.interaction_variance,
            }
        )
    return rows


def _verdict(estimate: float, p: float | None, lower_is_better: bool) -> str:
    if p is None or p >= LEVEL:
        return OPEN
    return BETTER if (estimate < 0) == lower_is_better else WORSE


def _seeds_needed(one: Difference, tests: int) -> int | None:
    """Return how many seeds would tell; as if each of the tests had to be the strictest."""
    if one.standard_error is None:
        few = one.seeds < FEWEST_SEEDS and np.isfinite(one.estimate)
        return FEWEST_SEEDS if few else None
    return one.seeds_needed(LEVEL / max(tests, 1))

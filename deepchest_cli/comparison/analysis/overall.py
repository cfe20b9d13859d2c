"""Figures over all findings that reviewers ask for: the mean rank, and Delta-m."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import rankdata

from deepchest_cli.comparison.analysis.scores import Scores
from deepchest_cli.evaluation.metrics import Floats

CHANCE = 0.5  # the AUROC of drawing lots


def mean_ranks(arms: Mapping[str, Scores]) -> dict[str, float]:
    """Return the mean over the findings of each arm's rank by AUROC; 1 is the best.

    It depends on which arms are compared.
    """
    table = np.stack([scores.values["auroc"].mean(axis=0) for scores in arms.values()])  # (M, T)
    defined = np.isfinite(table).all(axis=0)
    if not defined.any():
        return dict.fromkeys(arms, float("nan"))
    ranks = rankdata(-table[:, defined], axis=0)
    return dict(zip(arms, ranks.mean(axis=1).tolist(), strict=True))


def delta_m(scores: Scores, single: Scores, findings: tuple[str, ...]) -> dict[str, Any]:
    """Return Delta-m in percent against models of one finding each: positive is better.

    It is the mean over the findings of (M - B) / B, M and B being the mean AUROC over the seeds.
    `skill` is the same of the AUROC above chance, undefined where the base has none.
    """
    mine, base = scores.values["auroc"].mean(axis=0), single.values["auroc"].mean(axis=0)
    change = 100 * (mine - base) / base
    defined = np.flatnonzero(np.isfinite(change))
    if not len(defined):
        return {"mean": None, "median": None, "worst": None, "skill": None, "findings": {}}
    worst = defined[np.argmin(change[defined])]
    return {
        "mean": float(change[defined].mean()),
        "median": float(np.median(change[defined])),
        "worst": {"finding": findings[worst], "change": float(change[worst])},
        "skill": _skill(mine, base),
        "findings": {name: float(change[i]) for i, name in enumerate(findings)},
    }


def _skill(mine: Floats, base: Floats) -> float | None:
    able = np.isfinite(mine) & (base > CHANCE)
    if not able.any():
        return None
    return float((100 * (mine - base)[able] / (base[able] - CHANCE)).mean())

"""A figure with its interval, in plain values."""

from typing import Any

import numpy as np

from deepchest_cli.evaluation.bootstrap import Interval, Resampling, interval
from deepchest_cli.evaluation.metrics import Floats, Labels, auroc
from deepchest_cli.evaluation.operating_points import RATES, rate_parts
from deepchest_cli.evaluation.weighted import WEIGHTED, Places


def figure(value: float, replicates: Floats) -> dict[str, float]:
    """Return a value with the percentile interval of its replicates (B,)."""
    found = interval(replicates) if np.isfinite(value) else Interval(np.nan, np.nan)
    return {"value": float(value), "low": found.low, "high": found.high}


NOTHING = {"value": np.nan, "low": np.nan, "high": np.nan}


def auroc_replicates(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> Floats:
    """Return the AUROC in each replicate (B,), over some images, by their rows (n,)."""
    return resampling.applied(WEIGHTED["auroc"](labels, probabilities, resampling.owners(images)))


def auroc_figure(
    labels: Labels, probabilities: Floats, images: Places, resampling: Resampling
) -> dict[str, float]:
    """Return the AUROC of some images, by their rows (n,), with its interval."""
    value = auroc(labels, probabilities)
    if np.isnan(value):
        return dict(NOTHING)
    return figure(value, auroc_replicates(labels, probabilities, images, resampling))


def ratio_figures(
    parts: Floats, wholes: Floats, images: Places, resampling: Resampling
) -> list[dict[str, float]]:
    """Return m shares of counted images (n, m) with their intervals; NaN over nothing."""
    part, whole = parts.sum(axis=0), wholes.sum(axis=0)
    values = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    replicates = resampling.ratios(images, parts, wholes)
    return [figure(value, replicates[:, i]) for i, value in enumerate(values)]


def rate_figures(
    labels: Labels, positive: Any, images: Places, resampling: Resampling
) -> dict[str, dict[str, float]]:
    """Return sensitivity, specificity, PPV and NPV of a decision (n,) with their intervals."""
    parts, wholes = rate_parts(labels, positive)
    return dict(zip(RATES, ratio_figures(parts, wholes, images, resampling), strict=True))

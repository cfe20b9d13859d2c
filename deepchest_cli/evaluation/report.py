"""The metrics of a table of predictions: per finding, macro means, undefined ones, gates."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepchest_cli.errors import GateError, UsageError, unknown_name
from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    auroc_with_interval,
    effective_patients,
    macro_with_interval,
    metric_with_interval,
    patients_with,
    rarer_class_patients,
    ratios_with_intervals,
    resampled,
)
from deepchest_cli.evaluation.metrics import (
    METRICS,
    OF_POSITIVES,
    THRESHOLD,
    Floats,
    Labels,
    macro,
    per_finding,
)
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import mean_of_defined
from deepchest_cli.evaluation.weighted import WEIGHTED, Places
from deepchest_cli.reporting.numbers import distinguished

# a gate is a floor; of these a lower value is better, or none depends on the model
NO_GATES = (
    "loss", "prevalence_baseline_loss", "normalized_cross_entropy", "prevalence",
    "accuracy_all_negative", "f1_class_mean_all_negative", "f1_weighted_all_negative", "brier",
)  # fmt: skip
WORST = "worst_"  # before a metric: that of the finding where it is lowest
MEANS = tuple(name for name in METRICS if name not in NO_GATES)
GATES = (*MEANS, *(WORST + name for name in MEANS))
RANKING = ("auroc", "average_precision")  # also have a worst finding


def build_report(predictions: Predictions, resampling: Resampling | None = None) -> dict[str, Any]:
    """Return counts, per-finding metrics, macro means and the list of undefined metrics.

    With `resampling`, of the same patients, there are intervals, too.
    """
    table = {metric: per_finding(metric, predictions) for metric in METRICS}
    present = predictions.labels * predictions.known
    positives, patients = present.sum(axis=0), len(np.unique(predictions.patient_id))
    intervals, macro_intervals = _intervals(predictions, table, resampling)
    return {
        "images": len(predictions.probabilities),
        "patients": patients,
        "threshold": THRESHOLD,
        "findings": {
            finding: {
                "positives": int(positives[column]),
                "positive_patients": patients_with(present[:, column], predictions.patient_id),
                "known": int(predictions.known[:, column].sum()),
                **{metric: float(values[column]) for metric, values in table.items()},
                "intervals": {metric: rows[column] for metric, rows in intervals.items()},
            }
            for column, finding in enumerate(predictions.findings)
        },
        "macro": {
            **{metric: macro(values) for metric, values in table.items()},
            "intervals": macro_intervals,
            "scored_findings": {m: int(np.isfinite(table[m]).sum()) for m in RANKING},
        },
        "worst": {metric: _worst(predictions.findings, table[metric]) for metric in MEANS},
        "undefined": [
            {"finding": predictions.findings[column], "metric": metric}
            for metric, values in table.items()
            for column in np.flatnonzero(np.isnan(values))
        ],
    }


def _intervals(
    predictions: Predictions, table: dict[str, Floats], resampling: Resampling | None
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Return the intervals of each metric of the table, by finding and of the macro mean."""
    by_finding: dict[str, list[dict[str, Any]]] = {}
    of_macro: dict[str, dict[str, Any]] = {}
    if resampling is None:
        return by_finding, of_macro
    everyone = effective_patients(np.ones(len(predictions.patient_id)), predictions.patient_id)
    for metric in WEIGHTED:
        drawn = resampled(metric, predictions, resampling)
        if metric == "average_precision" and predictions.fold is not None:
            drawn = _centered(drawn, table[metric])
        if metric in CLOSED_FORM:
            found = [
                CLOSED_FORM[metric](*predictions.known_labels(column), resampling)
                for column in range(len(predictions.findings))
            ]
            mean = macro_with_interval(found, drawn)
        else:
            found = [
                metric_with_interval(
                    value, drawn[:, column], _effective_patients(predictions, column, metric)
                )
                for column, value in enumerate(table[metric])
            ]
            mean = metric_with_interval(macro(table[metric]), mean_of_defined(drawn), everyone)
        by_finding[metric] = [_ends(one, drawn[:, i]) for i, one in enumerate(found)]
        of_macro[metric] = _ends(mean, mean_of_defined(drawn))
    return by_finding, of_macro


def _centered(replicates: Floats, values: Floats) -> Floats:
    """Return replicates (B, T) moved so that their mean is the metric (T,).

    A positive that is drawn twice ranks beside itself, which raises an average precision of few
    positives, as those of a fold are: its interval could lie above the metric.
    """
    known = np.isfinite(replicates)
    count = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, replicates, 0).sum(axis=0) / count
    return np.asarray(np.clip(replicates - means + values, 0, 1))


def _auroc(
    images: Places, labels: Labels, probabilities: Floats, resampling: Resampling
) -> dict[str, float]:
    return auroc_with_interval(labels, probabilities, images, resampling)


def _accuracy(
    images: Places, labels: Labels, probabilities: Floats, resampling: Resampling
) -> dict[str, float]:
    right = ((probabilities > THRESHOLD) == labels).astype(np.float64)[:, None]
    return ratios_with_intervals(right, np.ones_like(right), images, resampling)[0]


# metrics whose intervals need no replicates; their macro means need the correlation of these
CLOSED_FORM = {"auroc": _auroc, "accuracy": _accuracy}


def _effective_patients(predictions: Predictions, column: int, metric: str) -> float:
    """Return how many patients a metric effectively rests on."""
    if metric in OF_POSITIVES:
        return rarer_class_patients(predictions, column)
    return effective_patients(predictions.known[:, column], predictions.patient_id)


def _ends(found: dict[str, float], replicates: Floats) -> dict[str, Any]:
    undefined = int((~np.isfinite(replicates)).sum())
    return {"low": found["low"], "high": found["high"], "undefined_replicates": undefined}


def _worst(findings: tuple[str, ...], values: Floats) -> dict[str, Any]:
    if np.isnan(values).all():
        return {"finding": None, "value": np.nan}
    column = int(np.nanargmin(values))
    return {"finding": findings[column], "value": float(values[column])}


def parse_gates(text: str) -> list[tuple[str, float]]:
    """Return the quality gates of `auroc=0.75,worst_auroc=0.6`."""
    gates = []
    for gate in text.split(","):
        metric, separator, value = gate.partition("=")
        if not separator or not metric.strip() or not value.strip():
            raise UsageError(f"--fail-under takes METRIC=VALUE. Found {gate!r}.")
        gates.append(parse_gate(metric.strip().replace("-", "_"), value.strip()))
    return gates


def parse_gate(metric: str, value: str) -> tuple[str, float]:
    """Return a quality gate; raises `UsageError` for an unknown metric or no number."""
    if metric not in GATES:
        raise unknown_name("metric of --fail-under:", metric, GATES)
    try:
        floor = float(value)
    except ValueError:
        floor = np.nan
    if not np.isfinite(floor):
        raise UsageError(f"--fail-under {metric} should be a number. Found {value!r}.")
    return metric, floor


def check_gates(reports: Sequence[dict[str, Any]], gates: list[tuple[str, float]]) -> None:
    """Raise `GateError` naming every gate that any report misses; an undefined metric misses it."""
    missed = []
    for report in reports:
        where = f" on {report['data']}" if len(reports) > 1 else ""
        missed += [f"{text}{where}" for gate in gates if (text := _missed(report, *gate))]
    if missed:
        raise GateError(f"The quality gate was not met: {'; '.join(missed)}.")


def _missed(report: dict[str, Any], metric: str, floor: float) -> str:
    """Return what a report has instead of a gate's floor; empty where it reaches it."""
    if metric.startswith(WORST):
        worst = report["worst"][metric.removeprefix(WORST)]
        value, title = worst["value"], f"{metric} ({worst['finding']})"
    else:
        value, title = report["macro"][metric], f"macro {metric}"
    if value >= floor:
        return ""
    found = "undefined"
    if not np.isnan(value):
        found = "{}, below {}".format(*distinguished(value, floor, 4))
    return f"{title} is {found}"

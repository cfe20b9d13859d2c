"""The results of an evaluation as one document: per finding, macro means, what is undefined."""

from typing import Any

import numpy as np

from deepchest_cli.errors import GateError, UsageError, unknown_name
from deepchest_cli.evaluation.metrics import METRICS, THRESHOLD, macro, per_finding
from deepchest_cli.evaluation.predictions import Predictions

# a gate is a floor; for these a lower figure is better, or it says nothing of the model
NO_GATES = ("loss", "loss_ratio", "prevalence", "accuracy_of_nothing", "brier")
GATES = tuple(name for name in METRICS if name not in NO_GATES)


def build_report(predictions: Predictions) -> dict[str, Any]:
    """Return counts, per-finding figures, macro means and the list of undefined figures."""
    table = {metric: per_finding(metric, predictions) for metric in METRICS}
    positives = (predictions.labels * predictions.known).sum(axis=0)
    return {
        "images": len(predictions.probabilities),
        "patients": len(np.unique(predictions.patient_id)),
        "threshold": THRESHOLD,
        "findings": {
            finding: {
                "positives": int(positives[column]),
                "known": int(predictions.known[:, column].sum()),
                **{metric: float(values[column]) for metric, values in table.items()},
            }
            for column, finding in enumerate(predictions.findings)
        },
        "macro": {metric: macro(values) for metric, values in table.items()},
        "undefined": [
            {"finding": predictions.findings[column], "metric": metric}
            for metric, values in table.items()
            for column in np.flatnonzero(np.isnan(values))
        ],
    }


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


def check_gates(report: dict[str, Any], gates: list[tuple[str, float]]) -> None:
    """Raise `GateError` naming every gate that a macro mean misses; an undefined one misses."""
    missed = [
        f"macro {metric} is {report['macro'][metric]:.4f}, below {floor:g}"
        for metric, floor in gates
        if not report["macro"][metric] >= floor
    ]
    if missed:
        raise GateError(f"The quality gate was not met: {'; '.join(missed)}.")

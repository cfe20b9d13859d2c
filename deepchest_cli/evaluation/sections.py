"""Operating points and calibration as they turn out on the scored images."""

from typing import Any

import numpy as np

from deepchest_cli.evaluation.bootstrap import Resampling
from deepchest_cli.evaluation.calibration import BINS, calibration_figures
from deepchest_cli.evaluation.choices import Choices
from deepchest_cli.evaluation.figures import rate_figures
from deepchest_cli.evaluation.metrics import macro
from deepchest_cli.evaluation.operating_points import RULES, SHARED_RULE, confusion
from deepchest_cli.evaluation.predictions import Predictions

SUMMED = ("ece", "brier", "brier_skill")  # have a macro mean
SHARED_VALIDATION = (
    "The validation part chose the thresholds and the calibration, and as a rule the epoch of the "
    "model: all three rest on the same patients, so that figures on validation itself would "
    "flatter. What is reported is on other patients."
)


def operating_points(
    table: Predictions, choices: Choices | None, resampling: Resampling
) -> dict[str, Any]:
    """Return thresholds that validation chose, with the rates that they have here."""
    document: dict[str, Any] = {"reference_operating_point": SHARED_RULE, "findings": {}}
    if choices is None:
        return document
    for column, finding in enumerate(table.findings):
        rows = np.flatnonzero(table.known[:, column])
        labels, scores = table.labels[rows, column], table.probabilities[rows, column]
        entry: dict[str, Any] = {"validation_positives": choices.positives.get(finding, 0)}
        for rule in RULES:
            threshold = choices.threshold(finding, rule)
            entry[rule] = None
            if np.isfinite(threshold):
                called = scores >= threshold
                entry[rule] = {
                    "threshold": threshold,
                    **confusion(labels, called),
                    **rate_figures(labels, called, rows, resampling),
                }
        document["findings"][finding] = entry
    return document


def calibration(table: Predictions, choices: Choices | None) -> dict[str, Any]:
    """Return how far probabilities can be believed, before and after what validation fitted."""
    document: dict[str, Any] = {
        "method": None if choices is None else choices.method,
        "bins": BINS,
        "findings": {},
    }
    scaled = table.probabilities if choices is None else choices.calibrated(table)
    for column, finding in enumerate(table.findings):
        rows = np.flatnonzero(table.known[:, column])
        labels = table.labels[rows, column]
        scaling = None if choices is None else choices.scalings.get(finding)
        document["findings"][finding] = {
            "scaling": None
            if scaling is None
            else {"slope": scaling.slope, "intercept": scaling.intercept},
            "validation_prevalence": None if choices is None else choices.prevalence.get(finding),
            "uncalibrated": None if choices is None else choices.uncalibrated.get(finding),
            "before": calibration_figures(labels, table.probabilities[rows, column]),
            "after": None if scaling is None else calibration_figures(labels, scaled[rows, column]),
        }
    document["macro"] = _macro(document["findings"])
    return document


def _macro(findings: dict[str, Any]) -> dict[str, Any]:
    """Return means over the findings that were calibrated, or over all where none was."""
    both = [entry for entry in findings.values() if entry["after"]]
    return {
        "calibrated_findings": len(both),
        "before": _means([entry["before"] for entry in both or findings.values()]),
        "after": _means([entry["after"] for entry in both]) if both else None,
    }


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {name: macro(np.array([row[name] for row in rows], dtype=np.float64)) for name in SUMMED}

"""What is chosen on validation, once: thresholds and calibration; a checkpoint holds it."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from deepchest_cli.evaluation.calibration import Method, Scaling, fit_scaling
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.operating_points import choose_thresholds
from deepchest_cli.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Choices:
    """Thresholds and calibration of each finding, and the images that they rest on."""

    source: str  # SHA-256 of the data's manifest, or the file
    images: int
    patients: int
    method: Method
    positives: dict[str, int]
    thresholds: dict[str, dict[str, float]]  # finding, rule; NaN where there is none
    scalings: dict[str, Scaling | None]
    uncalibrated: dict[str, str]  # finding: why

    def threshold(self, finding: str, rule: str) -> float:
        """Return a threshold; NaN where there is none."""
        return self.thresholds.get(finding, {}).get(rule, np.nan)

    def covers(self, findings: tuple[str, ...]) -> bool:
        """Whether all these findings were looked at."""
        return set(findings) <= self.thresholds.keys()

    def calibrated(self, predictions: Predictions) -> Floats:
        """Return the probabilities (N, T), calibrated where that was possible."""
        columns = []
        for column, finding in enumerate(predictions.findings):
            raw = predictions.probabilities[:, column]
            scaling = self.scalings.get(finding)
            columns.append(raw if scaling is None else scaling.applied(raw))
        return np.stack(columns, axis=1)

    def to_plain(self) -> dict[str, Any]:
        """Return values that every version of torch loads safely."""
        return {
            "source": self.source,
            "images": self.images,
            "patients": self.patients,
            "calibration_method": self.method,
            "findings": {
                finding: {
                    "positives": self.positives[finding],
                    "operating_points": dict(self.thresholds[finding]),
                    "calibration": None
                    if (scaling := self.scalings[finding]) is None
                    else {"slope": scaling.slope, "intercept": scaling.intercept},
                    "uncalibrated": self.uncalibrated.get(finding),
                }
                for finding in self.thresholds
            },
        }

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Choices":
        """Return what `to_plain` gave."""
        findings = values["findings"]
        return Choices(
            values["source"],
            values["images"],
            values["patients"],
            cast(Method, values["calibration_method"]),
            {name: entry["positives"] for name, entry in findings.items()},
            {name: dict(entry["operating_points"]) for name, entry in findings.items()},
            {
                name: None if entry["calibration"] is None else Scaling(**entry["calibration"])
                for name, entry in findings.items()
            },
            {name: e["uncalibrated"] for name, e in findings.items() if e["uncalibrated"]},
        )


def choose(validation: Predictions, method: Method, source: str) -> Choices:
    """Return the thresholds and the calibration that follow from a validation part."""
    positives, thresholds, scalings, reasons = {}, {}, {}, {}
    for column, finding in enumerate(validation.findings):
        known = validation.known[:, column] == 1
        labels = validation.labels[known, column]
        probabilities = validation.probabilities[known, column]
        positives[finding] = int(labels.sum())
        thresholds[finding] = choose_thresholds(labels, probabilities)
        scaling = fit_scaling(labels, probabilities, method)
        scalings[finding] = None if isinstance(scaling, str) else scaling
        if isinstance(scaling, str):
            reasons[finding] = scaling
    return Choices(
        source,
        len(validation.probabilities),
        len(np.unique(validation.patient_id)),
        method,
        positives,
        thresholds,
        scalings,
        reasons,
    )

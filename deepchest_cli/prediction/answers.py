"""From logits to what is told about an image: calibrated, with thresholds, flags and warnings."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.prediction.knowledge import Knowledge
from deepchest_cli.prediction.oddities import Oddity

Floats = NDArray[np.float64]
SMALLEST = 1e-12  # distance of a probability from 0 and 1
RULES = ("youden", "sensitivity_90", "specificity_90", "best_f1")  # of deepchest evaluate


def sigmoid(logits: Floats) -> Floats:
    """Return the logistic function in double precision; single ties confident images at 1."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits)))


def logit(probabilities: Floats) -> Floats:
    """Return the inverse of `sigmoid`, finite also for 0 and 1."""
    inside = np.clip(np.nan_to_num(probabilities), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class Scale:
    """A model's calibration and thresholds in the order of T findings."""

    findings: tuple[str, ...]
    slope: Floats  # (T,), 1 where a finding is not calibrated
    intercept: Floats  # (T,)
    thresholds: Floats  # (T,), of calibrated probabilities; NaN where there is none
    calibrated: tuple[str, ...]  # findings
    source: str  # of the thresholds

    def applied(self, logits: Floats) -> Floats:
        """Return the probabilities (B, T), calibrated where that is known."""
        return sigmoid(logits * self.slope + self.intercept)


def scale_of(knowledge: Knowledge, threshold: str) -> Scale:
    """Return how a model's logits become answers.

    threshold: a rule's name, or a number that all findings share.
    """
    findings = knowledge.findings
    entries = {} if knowledge.choices is None else knowledge.choices["findings"]
    scalings = [entries.get(name, {}).get("calibration") for name in findings]
    slope = np.array([1.0 if one is None else one["slope"] for one in scalings])
    intercept = np.array([0.0 if one is None else one["intercept"] for one in scalings])
    calibrated = tuple(n for n, one in zip(findings, scalings, strict=True) if one is not None)
    fixed = number_in(threshold)
    if fixed is not None:
        shared = np.full(len(findings), fixed)
        return Scale(findings, slope, intercept, shared, calibrated, f"--threshold {fixed:g}")
    chosen = [entries.get(name, {}).get("operating_points", {}) for name in findings]
    raw = np.array([_finite(points.get(threshold)) for points in chosen])
    known = np.isfinite(raw)
    thresholds = np.full(len(findings), np.nan)
    thresholds[known] = sigmoid(logit(raw) * slope + intercept)[known]
    return Scale(findings, slope, intercept, thresholds, calibrated, _source(knowledge, threshold))


def number_in(threshold: str) -> float | None:
    """Return a threshold's number; None for a rule. Raises `UsageError` for neither."""
    if threshold in RULES:
        return None
    try:
        value = float(threshold)
    except ValueError:
        raise unknown_name(
            "value of --threshold:", threshold, [*RULES, "a number from 0 to 1"]
        ) from None
    if not 0 <= value <= 1:
        raise UsageError(
            f"--threshold takes a probability from 0 to 1 or a rule. Found {threshold!r}.",
            f"Rules: {', '.join(RULES)}.",
        )
    return value


def _finite(value: Any) -> float:
    return np.nan if value is None else float(value)


def _source(knowledge: Knowledge, rule: str) -> str:
    choices = knowledge.choices
    if choices is None:
        return "none: no operating points were chosen for this model"
    return f"{rule} on {choices['images']:,} validation images, kept in the model"


@dataclass(frozen=True)
class Answer:
    """What is told about one image, or why nothing is."""

    path: str
    problem: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    probabilities: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)  # NaN where there is none
    threshold_source: str = ""
    calibrated: tuple[str, ...] = ()
    distance: dict[str, float] | None = None
    oddities: tuple[Oddity, ...] = ()
    models: tuple[str, ...] = ()  # SHA-256

    @property
    def flagged(self) -> list[str]:
        """Findings at or above their threshold."""
        pairs = self.probabilities.items()
        return [name for name, value in pairs if value >= self.thresholds[name]]

    def to_plain(self) -> dict[str, Any]:
        """Return the image's object in the published schema."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            "models": list(self.models),
            "probabilities": self.probabilities,
            "calibrated": list(self.calibrated),
            "operating_point": {"source": self.threshold_source, "thresholds": self.thresholds},
            "flagged": self.flagged,
            "distance": self.distance,
            "warnings": [oddity.to_plain() for oddity in self.oddities],
        }

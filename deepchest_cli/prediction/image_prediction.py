"""From logits to what is reported of an image: calibrated, with thresholds, flags and warnings."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.model.logistic import logit, sigmoid
from deepchest_cli.model.site import Site, of_data_sets
from deepchest_cli.prediction.input_checks import InputWarning
from deepchest_cli.prediction.model_metadata import ModelMetadata
from deepchest_cli.prediction.study import Study

Floats = NDArray[np.float64]
RULES = (  # of deepchest evaluate
    "youden", "sensitivity_90", "sensitivity_90_confidence_95", "specificity_90", "best_f1",
)  # fmt: skip
UNSAID = "the model keeps no reason"


@dataclass(frozen=True)
class Calibration:
    """A model's calibration and thresholds in the order of T findings."""

    findings: tuple[str, ...]
    slope: Floats  # (T,), 1 where a finding is not calibrated
    intercept: Floats  # (T,)
    thresholds: Floats  # (T,), of calibrated probabilities; NaN where there is none
    calibrated: tuple[str, ...]  # findings
    source: str  # of the thresholds
    no_threshold: dict[str, str] = field(default_factory=dict)  # finding: why there is none

    def applied(self, logits: Floats) -> Floats:
        """Return the probabilities (B, T), calibrated where a calibration was fitted."""
        return sigmoid(logits * self.slope + self.intercept)


def calibration_of(
    metadata: ModelMetadata, threshold: str, data_set: str | None = None
) -> Calibration:
    """Return how a model's logits become probabilities and flags.

    threshold: a rule's name, or a number that all findings share; data_set: the one of training
    whose validation split chose thresholds and calibration, None: all of them together. Raises
    `UsageError` for another name.
    """
    findings, fit = metadata.findings, fit_of(metadata, data_set)
    entries = {} if fit is None else fit["findings"]
    scalings = [entries.get(name, {}).get("calibration") for name in findings]
    slope = np.array([1.0 if one is None else one["slope"] for one in scalings])
    intercept = np.array([0.0 if one is None else one["intercept"] for one in scalings])
    calibrated = tuple(n for n, one in zip(findings, scalings, strict=True) if one is not None)
    number = number_in(threshold)
    if number is not None:
        thresholds, source = np.full(len(findings), number), f"--threshold {number:g}"
        return Calibration(findings, slope, intercept, thresholds, calibrated, source)
    points = [entries.get(name, {}).get("operating_points", {}) for name in findings]
    raw = np.array([point.get(threshold) for point in points], dtype=np.float64)  # None: NaN
    scaled = sigmoid(logit(np.nan_to_num(raw)) * slope + intercept)
    thresholds = np.where(np.isfinite(raw), scaled, np.nan)
    if fit is None:
        source = "none: no operating points were chosen for this model"
        return Calibration(findings, slope, intercept, thresholds, calibrated, source)
    names = tuple(fit.get("data_sets", ())) if data_set is None else (data_set,)
    source = f"{threshold} on {_images_of(fit, findings, names)}, kept in the model"
    if not np.isfinite(raw).any():
        source = f"none: the model has no operating point by {threshold}"
    reasons = {name: entries.get(name, {}).get("no_operating_point", {}) for name in findings}
    without = {
        name: reasons[name].get(threshold, UNSAID)
        for name, value in zip(findings, raw, strict=True)
        if not np.isfinite(value)
    }
    return Calibration(findings, slope, intercept, thresholds, calibrated, source, without)


def fit_of(metadata: ModelMetadata, data_set: str | None) -> dict[str, Any] | None:
    """Return the validation fit of all data sets of training, or of one by its name."""
    fit, known = metadata.validation_fit, metadata.data_sets
    if data_set is None:
        return fit
    path = metadata.identity["path"]
    if not known:
        raise UsageError(
            f"{path} does not say what its data sets of training are called.", "Drop --source."
        )
    if data_set not in known:
        raise unknown_name(f"data set of training of {path}:", data_set, known)
    if fit is not None and fit.get("site"):
        raise UsageError(
            f"{path} has the operating points of {fit['site']['name']}, and none of {data_set}.",
            "Drop --source, or name the model as it was before deepchest recalibrate.",
        )
    return fit if fit is None or len(known) == 1 else fit.get("data_sets", {}).get(data_set)


def _images_of(fit: dict[str, Any], findings: tuple[str, ...], data_sets: tuple[str, ...]) -> str:
    """Return the images that chose the thresholds: of the model's own data, or of a site."""
    if fit.get("site"):
        return Site.from_plain(fit["site"]).images_named(findings)
    whose = of_data_sets(data_sets, fit.get("carried_over", ()))
    return f"{fit['images']:,} validation images{whose}"


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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What models say of an image, or of several together."""

    probabilities: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)  # NaN where there is none
    threshold_source: str = ""
    calibrated: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # SHA-256

    @property
    def flagged(self) -> list[str]:
        """Findings at or above their threshold."""
        pairs = self.probabilities.items()
        return [name for name, value in pairs if value >= self.thresholds[name]]

    def answer(self) -> dict[str, Any]:
        """Return this part of an object in the published schema."""
        return {
            "models": list(self.models),
            "probabilities": self.probabilities,
            "calibrated": list(self.calibrated),
            "operating_point": {"source": self.threshold_source, "thresholds": self.thresholds},
            "flagged": self.flagged,
        }


@dataclass(frozen=True)
class ImagePrediction(Prediction):
    """What is predicted for one image, or why nothing is."""

    path: str
    problem: str = ""
    sha256: str = ""
    width: int = 0
    height: int = 0
    feature_distance: dict[str, float] | None = None
    warnings: tuple[InputWarning, ...] = ()
    study: Study | None = None  # None: its file names none
    view: str = ""  # as its file spells it
    heatmaps: dict[str, str] | None = None  # path of each finding's picture
    # (D,), of the whole image; None of several models, whose features are no common space
    features: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)

    @property
    def title(self) -> str:
        """A name for people."""
        return Path(self.path).name

    def in_row(self) -> dict[str, str]:
        """Return what names the image in a table."""
        return {"path": self.path, "sha256": self.sha256}

    def to_plain(self) -> dict[str, Any]:
        """Return the image's object in the published schema."""
        plain = {
            "path": self.path,
            "sha256": self.sha256,
            "width": self.width,
            "height": self.height,
            **self.answer(),
            "feature_distance": self.feature_distance,
            "warnings": [asdict(warning) for warning in self.warnings],
        }
        return plain if self.heatmaps is None else {**plain, "heatmaps": self.heatmaps}

"""A site's own operating points and calibration, and the model before and after them.

Prevalence, scanner and labels of another hospital move a model's probabilities and with them its
sensitivity; its ranking of images is used as it is. Calibration in the large and the slope are
mended from images of the site (Van Calster et al. 2016, "A calibration hierarchy for risk models
was defined", Journal of Clinical Epidemiology 74), and thresholds chosen again on these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepchest_cli.data.text import by_reason
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import Resampling, resample_patients
from deepchest_cli.evaluation.calibration import Method
from deepchest_cli.evaluation.calibration_intervals import calibration_with_intervals
from deepchest_cli.evaluation.operating_points import REFERENCE_RULE, RULES
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.site_images import SiteImages
from deepchest_cli.evaluation.validation_fit import (
    ValidationFit,
    fit_on_validation,
    operating_point_results,
)
from deepchest_cli.model.site import Site

NOT_LABELED = "not labeled by the site"
NOTHING_KEPT = "and the model keeps none"
SAME_IMAGES = (
    "There are no images of the site beside those that chose the thresholds and the calibration: "
    "after them, metrics on the same images would be optimistic and are not given."
)


@dataclass(frozen=True)
class Recalibration:
    """The fit of a site, with why findings keep what the model had, and what it is judged by."""

    fit: ValidationFit
    chosen: ValidationFit  # of the site's images alone, for the findings that it labels
    site: Site
    carried_over: Mapping[str, str]  # finding: why the site could not choose


def recalibrate(
    findings: Sequence[str],
    kept: ValidationFit | None,
    images: SiteImages,
    name: str,
    method: Method,
) -> Recalibration:
    """Return the fit of a model's `findings` that a site's images choose.

    kept: the fit that the model has. A finding that the site does not label, or of which it has
    too few positives or negatives, keeps what the model had. Raises `UsageError` where the site
    can choose for no finding.
    """
    chosen = fit_on_validation(images.chosen_on, method, images.sha256)
    reasons = {finding: _why_not(chosen, finding) for finding in findings}
    own = tuple(finding for finding, reason in reasons.items() if not reason)
    if not own:
        raise UsageError(
            f"{name} has too few images to choose an operating point for any finding: "
            f"{by_reason(reasons.items())}.",
            "Give more labeled images of the site, or another --split.",
        )
    site = Site(
        name=name,
        images=chosen.images,
        patients=chosen.patients,
        data=images.data,
        sha256=images.sha256,
        split=images.split,
        findings=own,
    )
    return Recalibration(
        fit=_merged(findings, kept, chosen, site, reasons),
        chosen=chosen,
        site=site,
        carried_over={finding: reason for finding, reason in reasons.items() if reason},
    )


def _why_not(chosen: ValidationFit, finding: str) -> str:
    """Return why a site's images chose no threshold for a finding; empty where they did."""
    if finding not in chosen.thresholds:
        return NOT_LABELED
    if chosen.has_threshold(finding):
        return ""
    return _at_the_site(chosen.reasons(finding)[REFERENCE_RULE])


def _at_the_site(reason: str) -> str:
    return reason.replace("on validation", "at the site")


def _merged(
    findings: Sequence[str],
    kept: ValidationFit | None,
    chosen: ValidationFit,
    site: Site,
    reasons: Mapping[str, str],
) -> ValidationFit:
    """Return the fit with the site's entries, and for other findings what the model had."""
    before = {} if kept is None else kept.to_plain()["findings"]
    plain = chosen.to_plain()
    entries = {
        finding: plain["findings"][finding]
        if finding in site.findings
        else before.get(finding) or _without(reasons[finding])
        for finding in findings
    }
    return ValidationFit.from_plain({**plain, "findings": entries, "site": site.to_plain()})


def _without(reason: str) -> dict[str, Any]:
    """Return the entry of a finding that neither the site nor the model has a threshold for."""
    said = f"{reason}, {NOTHING_KEPT}"
    return {
        "positives": 0,
        "prevalence": np.nan,
        "operating_points": dict.fromkeys(RULES, np.nan),
        "no_operating_point": dict.fromkeys(RULES, said),
        "calibration": None,
        "uncalibrated": said,
    }


def build_document(
    found: Recalibration,
    kept: ValidationFit | None,
    images: SiteImages,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return before and after in plain values, on the images of the site that chose nothing.

    Where there are none, the model before is judged on those that chose, and after it is null.
    """
    table = images.judged_on or images.chosen_on
    resampling = resample_patients(table.patient_id, replicates, seed)
    before = _judged(table, kept, resampling)
    after: dict[str, dict[str, Any]] = {}
    if images.judged_on is not None:
        after = _judged(table, found.fit, resampling)
        for finding in set(found.site.findings) & after.keys():
            _widen(after[finding], _error_of_choice(images.chosen_on, found.fit, finding))
    return {
        "site": found.site.to_plain(),
        "calibration_method": found.fit.method,
        "reference_operating_point": REFERENCE_RULE,
        "judged_on": {
            "split": images.judged_split,
            "images": len(table.labels),
            "patients": len(np.unique(table.patient_id)),
            "note": "" if images.judged_on is not None else SAME_IMAGES,
        },
        "bootstrap_replicates": replicates,
        "seed": seed,
        "findings": {
            finding: {
                "chosen_on": "model" if finding in found.carried_over else "site",
                "carried_over": found.carried_over.get(finding),
                "uncalibrated": _at_the_site(found.fit.uncalibrated.get(finding, "")) or None
                if finding in found.site.findings
                else None,
                "positives": found.chosen.positives.get(finding),
                "prevalence": found.chosen.prevalence.get(finding),
                "before": before.get(finding),
                "after": after.get(finding),
            }
            for finding in found.fit.thresholds
        },
        "not_predicted": list(images.not_predicted),
        "notes": list(images.notes),
    }


def _judged(
    table: Predictions, fit: ValidationFit | None, resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """Return how a fit does on images: calibration, and the rates at each operating point."""
    points = operating_point_results(table, fit, resampling)["findings"]
    scaled = table.probabilities if fit is None else fit.calibrated(table)
    found = {}
    for column, finding in enumerate(table.findings):
        rows, labels, _ = table.known_labels(column)
        metrics = calibration_with_intervals(labels, scaled[rows, column], rows, resampling)
        ends = metrics["intervals"]
        found[finding] = {
            "calibrated": fit is not None and fit.scalings.get(finding) is not None,
            **{k: {"value": metrics[k], **ends[k]} for k in ("slope", "intercept", "ece")},
            "operating_points": {rule: points.get(finding, {}).get(rule) for rule in RULES},
        }
    return found


def _error_of_choice(chosen_on: Predictions, fit: ValidationFit, finding: str) -> dict[str, float]:
    """Return the half widths of slope and intercept on the images that chose a calibration.

    There the slope is 1 and the intercept 0, and their intervals say what other images of the site
    might have chosen. NaN for a finding that the site did not calibrate.
    """
    column = chosen_on.findings.index(finding)
    scaling, (rows, labels, scores) = fit.scalings.get(finding), chosen_on.known_labels(column)
    if scaling is None:
        return dict.fromkeys(("slope", "intercept"), np.nan)
    patients = resample_patients(chosen_on.patient_id, 0, 0)
    own = calibration_with_intervals(labels, scaling.applied(scores), rows, patients)
    ends = own["intervals"]
    return {name: (ends[name]["high"] - ends[name]["low"]) / 2 for name in ("slope", "intercept")}


def _widen(judged: dict[str, Any], errors: Mapping[str, float]) -> None:
    """Add the error of the choice, which is independent, to the intervals of slope and intercept.

    The slope found is a ratio of the site's slope to the chosen one: by the delta method the
    latter's error counts in proportion to it.
    """
    for name, error in errors.items():
        found, by = judged[name], error * (judged[name]["value"] if name == "slope" else 1)
        if np.isfinite(error):
            half = float(np.hypot((found["high"] - found["low"]) / 2, by))
            judged[name] = {**found, "low": found["value"] - half, "high": found["value"] + half}

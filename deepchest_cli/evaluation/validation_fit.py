"""Thresholds and calibration fitted on validation, once, and their results on scored images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.evaluation.bootstrap import Resampling, ratios_with_intervals
from deepchest_cli.evaluation.calibration import (
    BINS,
    Method,
    Scaling,
    fit_scaling,
)
from deepchest_cli.evaluation.calibration_intervals import calibration_with_intervals
from deepchest_cli.evaluation.metrics import Floats, macro, prevalence
from deepchest_cli.evaluation.operating_points import (
    CONDITIONAL,
    RATES,
    REFERENCE_RULE,
    RULES,
    choose_thresholds,
    confusion,
    rate_counts,
)
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.model.site import Site, of_data_sets

MACRO_METRICS = ("ece", "ece_if_calibrated", "brier", "brier_skill")
CAUTION = (
    "The validation split chose the thresholds and the calibration, and as a rule the epoch of the "
    "model: all three rest on the same patients, so that metrics on validation itself would be "
    "optimistic. What is reported is on other patients."
)
SITE_CAUTION = (
    "Images of the site chose the thresholds and the calibration, so that metrics on these very "
    "images would be optimistic. What is reported is on other patients."
)
FOLDS_CAUTION = (
    "The validation patients of each fold chose the epoch of its model, its thresholds and its "
    "calibration. A fold's test patients, whose out-of-fold predictions are scored, chose nothing."
)
VALIDATION_OF_FOLDS = "validation of each fold"
EARLIER = "chosen by an earlier version of deepchest, without this rule or a reason"


@dataclass(frozen=True)
class ValidationFit:
    """Thresholds and calibration of each finding, and the images that they rest on."""

    source: str  # SHA-256 of the data's manifest, or the file
    images: int
    patients: int
    method: Method
    positives: dict[str, int]
    prevalence: dict[str, float]  # over the known labels; NaN without one
    thresholds: dict[str, dict[str, float]]  # finding, rule; NaN where there is none
    no_threshold: dict[str, dict[str, str]]  # finding, rule: why
    scalings: dict[str, Scaling | None]
    uncalibrated: dict[str, str]  # finding: why
    site: Site | None = None  # whose images chose it, where those are not of the model's own data
    data_sets: tuple[str, ...] = ()  # whose validation splits chose it, of several of training
    # findings for which a data set could not choose: they have the entries of all data sets
    carried_over: tuple[str, ...] = ()
    each: tuple["ValidationFit", ...] = ()  # of all data sets together: those of each
    # by the number that `Predictions.fold` has of each; the thresholds above are their means
    folds: tuple["ValidationFit", ...] = ()

    @property
    def caution(self) -> str:
        """Why metrics on the images of the fit would be optimistic."""
        if self.folds:
            return FOLDS_CAUTION
        return CAUTION if self.site is None else SITE_CAUTION

    @property
    def images_named(self) -> str:
        """The images that it rests on, in words."""
        if self.site is not None:
            return self.site.images_named(self.thresholds)
        if self.folds:
            return VALIDATION_OF_FOLDS
        return f"validation{of_data_sets(self.data_sets, self.carried_over)}"

    def threshold(self, finding: str, rule: str) -> float:
        """Return a threshold; NaN where there is none."""
        return self.thresholds.get(finding, {}).get(rule, np.nan)

    def limits(self, table: Predictions, finding: str, rule: str) -> Floats:
        """Return the threshold of each image (N,), of its own fold; NaN where a fold has none."""
        threshold = self.threshold(finding, rule)
        if not self.folds or np.isnan(threshold):
            return np.full(len(table.probabilities), threshold)
        assert table.fold is not None
        return np.array([fit.threshold(finding, rule) for fit in self.folds])[table.fold]

    def has_threshold(self, finding: str) -> bool:
        """Whether a finding has a threshold by any rule."""
        return bool(np.isfinite(list(self.thresholds.get(finding, {}).values())).any())

    def reasons(self, finding: str) -> dict[str, str]:
        """Return why there is no threshold, for each rule without one."""
        said = self.no_threshold.get(finding, {})
        without = [rule for rule in RULES if not np.isfinite(self.threshold(finding, rule))]
        return {rule: said.get(rule, EARLIER) for rule in without}

    def calibrated(self, predictions: Predictions) -> Floats:
        """Return the probabilities (N, T), calibrated where that was possible."""
        if self.folds:
            assert predictions.fold is not None
            found = predictions.probabilities.copy()
            for number, fit in enumerate(self.folds):
                own = predictions.fold == number
                found[own] = fit.calibrated(predictions.of_rows(own))
            return found
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
            **({} if self.site is None else {"site": self.site.to_plain()}),
            **({"carried_over": list(self.carried_over)} if self.carried_over else {}),
            **(
                {"data_sets": {o.data_sets[0]: o.to_plain() for o in self.each}}
                if self.each
                else {}
            ),
            "findings": {
                finding: {
                    "positives": self.positives[finding],
                    "prevalence": self.prevalence[finding],
                    "operating_points": dict(self.thresholds[finding]),
                    "no_operating_point": dict(self.no_threshold[finding]),
                    "calibration": _plain(self.scalings[finding]),
                    "uncalibrated": self.uncalibrated.get(finding),
                }
                for finding in self.thresholds
            },
        }

    @staticmethod
    def from_plain(values: dict[str, Any], data_set: str = "") -> "ValidationFit":
        """Return what `to_plain` gave; data_set: whose, where it is that of one of several."""
        findings, several = values["findings"], values.get("data_sets", {})
        scalings = {name: entry["calibration"] for name, entry in findings.items()}
        return ValidationFit(
            source=values["source"],
            images=values["images"],
            patients=values["patients"],
            method=cast(Method, values["calibration_method"]),
            positives={name: entry["positives"] for name, entry in findings.items()},
            prevalence={name: entry["prevalence"] for name, entry in findings.items()},
            thresholds={name: dict(entry["operating_points"]) for name, entry in findings.items()},
            # version 0.1 kept no reasons
            no_threshold={n: dict(e.get("no_operating_point", {})) for n, e in findings.items()},
            scalings={name: None if s is None else Scaling(**s) for name, s in scalings.items()},
            uncalibrated={n: e["uncalibrated"] for n, e in findings.items() if e["uncalibrated"]},
            site=Site.from_plain(values["site"]) if values.get("site") else None,
            data_sets=(data_set,) if data_set else tuple(several),
            carried_over=tuple(values.get("carried_over", ())),
            each=tuple(ValidationFit.from_plain(one, name) for name, one in several.items()),
        )


def readable_fit(values: Any) -> ValidationFit | None:
    """Return the fit that a model keeps; None without one that this version understands."""
    try:
        return None if values is None else ValidationFit.from_plain(values)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _plain(scaling: Scaling | None) -> dict[str, float] | None:
    return None if scaling is None else {"slope": scaling.slope, "intercept": scaling.intercept}


def fit_on_validation(validation: Predictions, method: Method, source: str) -> ValidationFit:
    """Return the thresholds and the calibration that follow from a validation split."""
    images = {n: validation.known_labels(i) for i, n in enumerate(validation.findings)}
    known = {name: (labels, scores) for name, (_, labels, scores) in images.items()}
    fitted = {name: fit_scaling(*pair, method) for name, pair in known.items()}
    chosen = {
        name: choose_thresholds(*known[name], validation.patient_id[rows])
        for name, (rows, _, _) in images.items()
    }
    return ValidationFit(
        source=source,
        images=len(validation.probabilities),
        patients=len(np.unique(validation.patient_id)),
        method=method,
        positives={name: int(labels.sum()) for name, (labels, _) in known.items()},
        prevalence={name: prevalence(*pair) for name, pair in known.items()},
        thresholds={
            name: {rule: np.nan if isinstance(one, str) else one for rule, one in rules.items()}
            for name, rules in chosen.items()
        },
        no_threshold={
            name: {rule: one for rule, one in rules.items() if isinstance(one, str)}
            for name, rules in chosen.items()
        },
        scalings={n: None if isinstance(one, str) else one for n, one in fitted.items()},
        uncalibrated={n: one for n, one in fitted.items() if isinstance(one, str)},
    )


def fit_by_data_set(
    validation: Predictions, dataset: RadiographDataset, method: Method
) -> ValidationFit:
    """Return the fit on a validation split, and of several data sets those on each (`each`).

    validation: of all rows of the validation split of `dataset`. A finding for which a data set
    can choose no threshold, as it does not label it or has too few positives, has there what all
    data sets choose together.
    """
    fit = fit_on_validation(validation, method, dataset.sha256)
    if len(dataset.members) == 1:
        return fit
    member = dataset.member[dataset.rows("validation")]
    each = []
    for number, one in enumerate(dataset.members):
        own = fit_on_validation(validation.of_rows(member == number), method, one.sha256)
        carried = [n for n in own.thresholds if fit.has_threshold(n) and not own.has_threshold(n)]
        plain, pooled = own.to_plain(), fit.to_plain()["findings"]
        entries = {**plain["findings"], **{name: pooled[name] for name in carried}}
        plain = {**plain, "findings": entries, "carried_over": carried}
        each.append(ValidationFit.from_plain(plain, one.name))
    names = tuple(one.name for one in dataset.members)
    return replace(fit, data_sets=names, each=tuple(each))


def fit_of_folds(fits: Sequence[ValidationFit]) -> ValidationFit:
    """Return the fits of folds as one, with the means of their thresholds and calibrations.

    fits: by the number that `Predictions.fold` has of each. A finding has a threshold, or a
    calibration, where each fold has one.
    """
    own = list({id(fit): fit for fit in fits}.values())
    first, findings = own[0], list(own[0].thresholds)
    reasons = {
        name: {
            rule: f"fold {number}: {why}"
            for number, fit in reversed([*enumerate(own, 1)])
            for rule, why in fit.reasons(name).items()
        }
        for name in findings
    }
    scalings: dict[str, Scaling | None] = {}
    for name in findings:
        several = [fit.scalings[name] for fit in own]
        known = [one for one in several if one is not None]
        scalings[name] = None
        if len(known) == len(own):
            slope, intercept = (float(np.mean([getattr(one, key) for one in known]))
                                for key in ("slope", "intercept"))  # fmt: skip
            scalings[name] = Scaling(slope, intercept)
    return replace(
        first,
        images=sum(fit.images for fit in own),
        patients=sum(fit.patients for fit in own),
        positives={name: sum(fit.positives[name] for fit in own) for name in findings},
        prevalence={n: macro(np.array([fit.prevalence[n] for fit in own])) for n in findings},
        thresholds={
            name: {
                rule: float(np.mean([fit.threshold(name, rule) for fit in own])) for rule in RULES
            }
            for name in findings
        },
        no_threshold=reasons,
        scalings=scalings,
        uncalibrated={
            name: f"fold {number}: {fit.uncalibrated[name]}"
            for number, fit in reversed([*enumerate(own, 1)])
            for name in fit.uncalibrated
        },
        folds=tuple(
            replace(fit, scalings={n: s if scalings[n] else None for n, s in fit.scalings.items()})
            for fit in fits
        ),
    )


def operating_point_results(
    table: Predictions, fit: ValidationFit | None, resampling: Resampling
) -> dict[str, Any]:
    """Return the thresholds with their confusions and rates on the scored images."""
    document: dict[str, Any] = {
        "reference_operating_point": REFERENCE_RULE,
        "intervals_note": CONDITIONAL,
        "findings": {},
    }
    if fit is None:
        return document
    for column, finding in enumerate(table.findings):
        rows, labels, scores = table.known_labels(column)
        entry: dict[str, Any] = {
            "validation_positives": fit.positives.get(finding, 0),
            "unavailable": fit.reasons(finding),
        }
        for rule in RULES:
            threshold = fit.threshold(finding, rule)
            entry[rule] = None
            if np.isfinite(threshold):
                positive = scores >= fit.limits(table, finding, rule)[rows]
                rates = ratios_with_intervals(*rate_counts(labels, positive), rows, resampling)
                entry[rule] = {
                    "threshold": threshold,
                    **confusion(labels, positive),
                    **dict(zip(RATES, rates, strict=True)),
                }
        document["findings"][finding] = entry
    return document


def calibration_results(
    table: Predictions, fit: ValidationFit | None, resampling: Resampling
) -> dict[str, Any]:
    """Return the calibration on the scored images, before and after the fit of validation.

    Intervals of the calibration after the fit are conditional on it.
    """
    findings: dict[str, Any] = {}
    scaled = table.probabilities if fit is None else fit.calibrated(table)
    for column, finding in enumerate(table.findings):
        rows, labels, scores = table.known_labels(column)
        scaling = None if fit is None else fit.scalings.get(finding)
        findings[finding] = {
            "scaling": _plain(scaling),
            "validation_prevalence": None if fit is None else fit.prevalence.get(finding),
            "uncalibrated": None if fit is None else fit.uncalibrated.get(finding),
            "before": calibration_with_intervals(labels, scores, rows, resampling),
            "after": None
            if scaling is None
            else calibration_with_intervals(labels, scaled[rows, column], rows, resampling),
        }
    # means over the findings that were calibrated, or over all where none was
    both = [entry for entry in findings.values() if entry["after"]]
    return {
        "method": None if fit is None else fit.method,
        "bins": BINS,
        "findings": findings,
        "macro": {
            "calibrated_findings": len(both),
            "before": _means([entry["before"] for entry in both or findings.values()]),
            "after": _means([entry["after"] for entry in both]) if both else None,
        },
    }


def _means(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: macro(np.array([row[name] for row in rows], dtype=np.float64))
        for name in MACRO_METRICS
    }

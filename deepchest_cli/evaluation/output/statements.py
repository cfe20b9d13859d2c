"""Sentences about an evaluation that the page, the model card and the terminal share."""

import math
from collections.abc import Mapping
from typing import Any

from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE
from deepchest_cli.data.text import by_reason, count_of, few
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.overlap import overlap_warning
from deepchest_cli.evaluation.references import OFFICIAL
from deepchest_cli.evaluation.subgroups import MIN_PATIENTS
from deepchest_cli.evaluation.units import IMAGE, PATIENT, PLURAL, counted_units
from deepchest_cli.model.site import Site, of_data_sets
from deepchest_cli.reporting.numbers import number, with_interval

Document = Mapping[str, Any]
NIH_KINDS = ("nih", "nih-parquet", "chestmnist")  # sources
NOT_CLINICAL = "For research; not for clinical use."
MAP_NAMES = {"grad_cam": "Grad-CAM", "cam": "CAM", "random": "random maps"}


def metric(values: Document, name: str, digits: int = 3) -> str:
    """Return a metric of a finding or of the macro means with its interval."""
    ends = values["intervals"].get(name, {"low": math.nan, "high": math.nan})
    return with_interval({"value": values[name], **ends}, digits)


def overlap(document: Document) -> str:
    """Return which scored images the model was trained or selected on; empty where none was."""
    return overlap_warning(document["overlap"], document["images"], document["split"])


def units(document: Document) -> str:
    """Return what is scored, in the plural: images, studies or patients."""
    return PLURAL[document["unit"]]


def counted(document: Document, image: str = "image") -> str:
    """Return how much is scored: 229 studies of 300 images of 180 patients."""
    unit = document["unit"]
    text = counted_units(unit, document["units"], document["images"], image=image)
    return text if unit == PATIENT else f"{text} of {count_of(document['patients'], 'patient')}"


def unit_rule(document: Document) -> str:
    """Return how the scores and labels of units are made; empty where images are scored."""
    unit, sizes, weights = document["unit"], document["images_per_unit"], document["view_weights"]
    if unit == IMAGE:
        return ""
    named = ", ".join(f"{view} {weight:g}" for view, weight in weights.items())
    return (
        f"The score of a {unit} is the mean over the probabilities of its images ({sizes['min']:,} "
        f"to {sizes['max']:,}, {number(sizes['mean'], 1)} on average"
        + (f"; weights of views: {named}, others 1" if named else "")
        + f"); a {unit} is positive where any of the images is."
    )


def caution(document: Document) -> str:
    """Return what the results must not be taken for."""
    said = overlap(document), out_of_fold(document), scope(document), NOT_CLINICAL
    return " ".join(filter(None, said))


def out_of_fold(document: Document) -> str:
    """Return how out-of-fold predictions are scored; empty for others."""
    if not document["folds"]:
        return ""
    return (
        "Out-of-fold predictions: each image is scored by the model that has not seen its patient. "
        "Metrics of rank compare images of the same fold; intervals are about other patients, "
        "given these models."
    )


def scope(document: Document) -> str:
    """Return what the scored images are."""
    if document["synthetic"]:
        return "Synthetic radiographs: nothing here says anything about patients."
    if any(model["synthetic"] for model in document["models"]):
        return (
            "The model was trained on synthetic radiographs: it has learned nothing about patients."
        )
    if document["split_name"] == OFFICIAL:
        return "These are all images of NIH's official test list."
    if is_nih(document) and document["images"] >= WHOLE_TABLE:
        return "All radiographs of the data set were scored, including training images."
    scored = count_of(document["images"], "radiograph was", "radiographs were")
    return (
        f"{scored} scored, which are not recognized as a whole published test split: these metrics "
        "are not the performance on a published split."
    )


def is_nih(document: Document) -> bool:
    """Whether the labels are those of NIH ChestX-ray14, of a data set or of NIH's own table."""
    of_table = document["source"] is None and document["label_version"] != "unknown"
    return of_table or document["source"] in NIH_KINDS


def result(document: Document) -> str:
    """Return the result in one sentence."""
    macro, worst = document["macro"], document["worst"]["auroc"]
    text = (
        f"Macro AUROC {metric(macro, 'auroc')} over "
        f"{count_of(macro['scored_findings']['auroc'], 'finding')}, "
        f"average precision {metric(macro, 'average_precision')}"
    )
    if worst["finding"] is not None:
        text += f"; lowest: {worst['finding']}, AUROC {number(worst['value'])}"
    return f"{text}."


def few_patients(document: Document, brief: bool = False) -> str:
    """Return which findings have too few patients for an interval with its nominal coverage.

    brief: name the first of many only.
    """
    scarce = [
        f"{name} ({values['positive_patients']})"
        for name, values in document["findings"].items()
        if 0 < values["positive_patients"] < MIN_PATIENTS
    ]
    if not scarce:
        return ""
    return (
        f"Fewer than {MIN_PATIENTS} patients have {_listed(scarce, brief)}: intervals of these "
        "findings are imprecise, and there is none below two patients."
    )


def undefined(document: Document, brief: bool = False) -> str:
    """Return which findings have undefined metrics; empty where none has.

    brief: name the first of many only.
    """
    names = sorted({entry["finding"] for entry in document["undefined"]})
    if not names:
        return ""
    return (
        f"Undefined (–) without positives or without negatives, and excluded from the means: "
        f"{_listed(names, brief)}."
    )


def _listed(names: list[str], brief: bool) -> str:
    return few(names) if brief else ", ".join(names)


def without_operating_point(document: Document) -> str:
    """Return which findings have no threshold, and why; empty where none lacks one."""
    said, titled = [], {}
    for name, entry in document["operating_points"]["findings"].items():
        titled[name] = {RULES[rule].title: why for rule, why in entry["unavailable"].items()}
        said += _of_each(name, titled[name], len(RULES))
    first = next(iter(titled.values()), {})
    if len(titled) > 1 and all(one == first for one in titled.values()):
        said = list(first.items())  # by rule: a published model has those of its authors
    return f"No operating point: {by_reason(said)}." if said else ""


def not_calibrated(document: Document) -> str:
    """Return which findings were not calibrated, and why; empty where all were."""
    entries = document["calibration"]["findings"].items()
    said = [(name, entry["uncalibrated"]) for name, entry in entries if entry["uncalibrated"]]
    return f"Not calibrated: {by_reason(said)}." if said else ""


def not_tested(document: Document) -> str:
    """Return which differences to another model were not tested, and why; empty: none."""
    compared, said = document["compared_to"], []
    titles = {"auroc": "AUROC", "average_precision": "average precision"}
    for name, found in [*compared["findings"].items(), ("macro mean", compared["macro"])]:
        reasons = {titles[key]: one["not_tested"] for key, one in found.items()}
        said += _of_each(name, {key: why for key, why in reasons.items() if why}, len(found))
    return f"Not tested: {by_reason(said)}." if said else ""


def _of_each(name: str, reasons: dict[str, str], count: int) -> list[tuple[str, str]]:
    """Return a finding with its reasons, once where all `count` of them are the same."""
    if len(reasons) == count and len(set(reasons.values())) == 1:
        return [(name, next(iter(reasons.values())))]
    return [(f"{name} by {what}", why) for what, why in reasons.items()]


def metadata_baseline(document: Document) -> str:
    """Return the macro AUROC of the metadata baseline, and what the model has more."""
    found = document["baseline"]
    text = (
        "Metadata baseline (age, sex and view alone): macro AUROC "
        f"{with_interval(found['macro_auroc'])}"
    )
    gain = found["macro_difference"]
    if math.isnan(gain["value"]):
        return f"{text}."
    over = count_of(found["scored_findings"], "finding")
    return f"{text}; the model minus it: {with_interval(gain, sign=True)} over the same {over}."


def images_of_fit(document: Document) -> str:
    """Return the images that chose thresholds and calibration, in words."""
    fit, findings = document["validation_fit"], document["findings"]
    if fit["site"]:
        return Site.from_plain(fit["site"]).images_named(findings)
    carried = [name for name in fit["carried_over"] if name in findings]
    chosen_on = "validation" if document["unit"] == IMAGE else f"validation {units(document)}"
    if document["folds"]:
        return f"{chosen_on} of each fold"
    return f"{chosen_on}{of_data_sets(fit['data_sets'], carried)}"


def calibration_method(document: Document) -> str:
    """Return the name of the method that calibrated; empty where none did."""
    method = document["calibration"]["method"]
    return f"{method.capitalize()} scaling" if method else ""

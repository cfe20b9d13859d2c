"""Figures in words, as the page and the model card share them."""

import math
from collections.abc import Mapping
from typing import Any

from deepchest_cli.comparison.output.page import shown
from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.overlap import overlap_warning
from deepchest_cli.evaluation.references import OFFICIAL
from deepchest_cli.evaluation.subgroups import MIN_PATIENTS

Document = Mapping[str, Any]
NIH_KINDS = ("nih", "chestmnist")  # sources
NOT_CLINICAL = "For research; not for clinical use."


def with_interval(found: Document, digits: int = 3) -> str:
    """Return `value (low to high)`; a dash where it is undefined."""
    value = shown(found["value"], digits)
    if math.isnan(found["low"]):
        return value
    return f"{value} ({shown(found['low'], digits)} to {shown(found['high'], digits)})"


def metric(values: Document, name: str, digits: int = 3) -> str:
    """Return a metric of a finding or of the means with its interval."""
    found = values["intervals"].get(name, {"low": math.nan, "high": math.nan})
    return with_interval({"value": values[name], **found}, digits)


def overlap(document: Document) -> str:
    """Return which scored images the model was made with; nothing where there is none."""
    return overlap_warning(document["overlap"], document["images"], document["split"])


def caution(document: Document) -> str:
    """Return what nobody should take the figures for."""
    return " ".join(filter(None, [overlap(document), _about(document), NOT_CLINICAL]))


def _about(document: Document) -> str:
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
        return "All radiographs of the data set were scored, trained ones too."
    return (
        f"{count_of(document['images'], 'radiograph was', 'radiographs were')} scored, not "
        "recognized as a whole published test part: these figures are no performance on any such "
        "part."
    )


def is_nih(document: Document) -> bool:
    """Whether the labels are those of NIH ChestX-ray14, of a data set or of NIH's own table."""
    of_table = document["source"] is None and document["label_version"] != "unknown"
    return of_table or document["source"] in NIH_KINDS


def result(document: Document) -> str:
    """Return the result in one sentence."""
    macro = document["macro"]
    scored = macro["scored_findings"]["auroc"]
    worst = document["worst"]["auroc"]
    text = (
        f"Macro AUROC {metric(macro, 'auroc')} over {count_of(scored, 'finding')}, "
        f"average precision {metric(macro, 'average_precision')}"
    )
    if worst["finding"] is not None:
        text += f"; lowest: {worst['finding']}, AUROC {shown(worst['value'])}"
    return text + "."


def few_patients(document: Document) -> str:
    """Return which findings too few patients have for an interval that holds what it says."""
    scarce = [
        f"{name} ({values['positive_patients']})"
        for name, values in document["findings"].items()
        if 0 < values["positive_patients"] < MIN_PATIENTS
    ]
    if not scarce:
        return ""
    return (
        f"Fewer than {MIN_PATIENTS} patients have {', '.join(scarce)}: intervals that rest on "
        "so few are rough."
    )


def undefined(document: Document) -> str:
    """Return which findings have undefined figures; nothing where none has."""
    names = sorted({entry["finding"] for entry in document["undefined"]})
    if not names:
        return ""
    return (
        f"Undefined for want of positives or negatives (–), and left out of the means: "
        f"{', '.join(names)}."
    )

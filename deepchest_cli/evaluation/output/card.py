"""A model card in Markdown, filled from what is known; what is not known is said.

Headings follow Mitchell et al. 2019, "Model cards for model reporting".
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepchest_cli.comparison.output.page import shown
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RATES
from deepchest_cli.evaluation.output import words
from deepchest_cli.evaluation.output.card_training import UNKNOWN, training_section

Document = Mapping[str, Any]


def model_card(document: Document, origins: Sequence[Mapping[str, Any]]) -> str:
    """Return the card; `origins` are those of the models' checkpoints, none for foreign ones."""
    parts = (
        ["# Model card", "", words.caution(document), ""],
        _details(document, origins),
        _use(),
        training_section(origins),
        _evaluation(document),
        _results(document),
        _thresholds(document),
        _groups(document),
        _limits(document, origins),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _details(document: Document, origins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Model details", "")
    if not document["models"]:
        yield from (f"Predictions in `{document['predictions']}`; the model is {UNKNOWN}.", "")
    for model, origin in zip(document["models"], origins, strict=True):
        yield (
            f"- `{model['path']}`: {model['backbone']} at {model['image_size']} px, task weighting "
            f"{model['weighter']}, epoch {model['epoch']}, trained by deepchest "
            f"{origin.get('deepchest', UNKNOWN)}; SHA-256 `{model['sha256']}`"
        )
    yield f"- Findings: {', '.join(document['findings'])}"
    yield f"- Evaluated by deepchest {document['deepchest']}"
    yield ""


def _use() -> Iterator[str]:
    yield from (
        "## Intended use", "",
        "Research on multi-label classification of frontal chest radiographs. Out of scope: any "
        "decision about a patient, lateral views, children where the data have few.", "",
    )  # fmt: skip


def _evaluation(document: Document) -> Iterator[str]:
    scheme = document["split_scheme"] or UNKNOWN
    yield from ("## Evaluation data", "")
    images = count_of(document["images"], "radiograph")
    yield (
        f"{images} of {count_of(document['patients'], 'patient')}, source "
        f"{document['source'] or UNKNOWN}, part {document['split']}, split scheme {scheme}, labels "
        f"of version {document['label_version']}. Recognized as: "
        f"{document['split_title'] or 'no published test part'}."
    )
    yield ""


def _results(document: Document) -> Iterator[str]:
    yield from ("## Results", "", words.result(document), "")
    if document["baseline"]:
        found = words.with_interval(document["baseline"]["macro_auroc"])
        yield from (f"Age, sex and view alone reach a macro AUROC of {found}.", "")
    columns = ("Finding", "Positives", "Prevalence", "AUROC (95 %)", "Average precision (95 %)")
    calibrated = document["calibration"]["findings"]
    rows = [
        [
            name,
            str(values["positives"]),
            shown(values["prevalence"]),
            words.metric(values, "auroc"),
            words.metric(values, "average_precision"),
            shown(calibrated[name]["before"]["ece"], 4),
            shown((calibrated[name]["after"] or {}).get("ece"), 4),
        ]
        for name, values in document["findings"].items()
    ]
    yield from _table([*columns, "ECE", "ECE calibrated"], rows)
    for said in (words.undefined(document), words.few_patients(document)):
        if said:
            yield from (said, "")


def _thresholds(document: Document) -> Iterator[str]:
    yield from ("## Operating points", "", document["validation_fit"]["note"], "")
    points = document["operating_points"]
    if not points["findings"]:
        return
    yield from (document["validation_fit"]["caution"], "")
    rows = []
    for name, entry in points["findings"].items():
        point = entry[points["reference_operating_point"]]
        cells = ["–"] * 5
        if point:
            cells = [f"{point['threshold']:.4g}", *(words.with_interval(point[r]) for r in RATES)]
        rows.append([name, *cells])
    columns = (
        "Finding",
        f"Threshold ({points['reference_operating_point']})",
        "Sensitivity",
        "Specificity",
    )
    yield from _table([*columns, "PPV", "NPV"], rows)


def _groups(document: Document) -> Iterator[str]:
    yield from ("## Subgroups", "", document["subgroups"]["rule"], "")
    rows = [
        [
            f"{g['attribute']}: {g['group']}",
            f"{g['images']:,}",
            "suppressed" if g["suppressed"] else words.with_interval(g["macro_auroc"]),
            str(g["scored_findings"]),
            words.with_interval(g["underdiagnosis"]),
        ]
        for g in document["subgroups"]["groups"]
        if " and " not in g["attribute"]
    ]
    yield from _table(("Group", "Images", "Macro AUROC", "Findings", "Underdiagnosis"), rows)


def _limits(document: Document, origins: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Limitations", "")
    for note in document["notes"]:
        yield f"- {note}"
    if words.is_nih(document) and document["synthetic"] is not True:
        yield (
            "- Labels of NIH ChestX-ray14 were read out of reports by a program. Against "
            "radiologists' labels of an enriched sample, its Pneumothorax had a PPV of 46 %."
        )
    yield "- View, drains and markers go with findings: a model may read those instead."
    yield f"- External validation: {_external(document, origins)}."


def _external(document: Document, origins: Sequence[Mapping[str, Any]]) -> str:
    """Return whether the scored images come from elsewhere than those of training."""
    if document["expert_labels"]:
        return "see relabels"
    if not origins:
        return f"what the model was trained on is {UNKNOWN}"
    trained = {origin.get("source", {}).get("kind") for origin in origins}
    if document["overlap"]["is_training_data_set"] or document["source"] in trained:
        return "none here"
    return f"these images are of source {document['source']}, those of training are not"

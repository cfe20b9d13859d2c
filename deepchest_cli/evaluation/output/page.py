"""The report of an evaluation: one page that carries everything and opens without a network."""

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from deepchest_cli.comparison.output.page import HASH, shown
from deepchest_cli.data.text import count_of, p_value
from deepchest_cli.evaluation.output import words
from deepchest_cli.evaluation.output.page_decisions import (
    calibration_section,
    points_section,
    references_section,
)
from deepchest_cli.evaluation.output.page_groups import (
    localization_section,
    relabels_section,
    subgroups_section,
)
from deepchest_cli.reporting.markup import (
    definitions,
    page_style,
    paragraph,
    picture,
    table,
)

Document = Mapping[str, Any]
Pictures = Mapping[str, bytes]


def report_page(document: Document, pictures: Pictures) -> str:
    """Return the page; `pictures` are SVG or PNG by their names."""
    template = files("deepchest_cli").joinpath("evaluation", "output", "page.html")
    return Template(template.read_text("utf-8")).substitute(
        style=page_style(),
        title="Evaluation",
        subtitle=f"deepchest {document['deepchest']}; {document['split']}: "
        f"{count_of(document['images'], 'radiograph')} of "
        f"{count_of(document['patients'], 'patient')}",
        result=paragraph(words.result(document), "result"),
        caution=paragraph(words.caution(document), "caution"),
        findings=_findings(document, pictures),
        differences=_differences(document),
        references=references_section(document),
        points=points_section(document, pictures),
        calibration=calibration_section(document, pictures),
        subgroups=subgroups_section(document, pictures),
        localization=localization_section(document),
        relabels=relabels_section(document),
        errors=picture(
            pictures.get("errors"),
            "Furthest from the threshold, in logits, on its wrong side: missed, then false alarms",
        )
        or paragraph("There are no radiographs at hand, or no thresholds.", "soft"),
        design=_design(document),
        notes="".join(paragraph(note, "soft") for note in document["notes"]),
    )


def _findings(document: Document, pictures: Pictures) -> str:
    entries = [(name, str(v["positives"]), v) for name, v in document["findings"].items()]
    entries.append(("Macro mean", "", document["macro"]))
    columns = [
        "Finding", "Positives", "Prevalence", "AUROC", "Average precision", "Lift", "Accuracy",
        "of nothing", "F1", "F1 macro", "of nothing ", "Loss", "of prevalence",
    ]  # fmt: skip
    rows = [
        [
            name,
            positives,
            shown(v["prevalence"]),
            words.metric(v, "auroc"),
            words.metric(v, "average_precision"),
            shown(v["ap_over_prevalence"], 1),
            *(
                shown(v[key])
                for key in ("accuracy", "accuracy_all_negative", "f1", "f1_class_mean")
            ),
            *(
                shown(v[key])
                for key in ("f1_class_mean_all_negative", "loss", "prevalence_baseline_loss")
            ),
        ]
        for name, positives, v in entries
    ]
    return (
        table(columns, rows)
        + paragraph(words.undefined(document), "soft")
        + paragraph(words.few_patients(document), "soft")
        + paragraph(
            "In brackets 95 % intervals by resampled patients. Lift: average precision over the "
            "prevalence, which chance gives. Accuracy and F1 at 0.5; 'of nothing' is the accuracy "
            "or macro F1 of never calling the finding; 'of prevalence' is the loss of always "
            "giving it, which knows no more than how often the finding occurs.",
            "soft",
        )
        + picture(pictures.get("roc"), "ROC curves with AUROC; the point is the threshold in use")
        + picture(
            pictures.get("precision-recall"),
            "Precision and recall with average precision; dotted: prevalence",
        )
    )


def _differences(document: Document) -> str:
    against = document["compared_to"]
    if not against:
        return ""
    entries = [*against["findings"].items(), ("Macro mean", against["macro"])]
    rows = []
    for name, found in entries:
        row = [name]
        for metric in ("auroc", "average_precision"):
            one = found[metric]
            low, high = (shown(one[end], sign=True) for end in ("low", "high"))
            row += [shown(one["difference"], sign=True), f"{low} to {high}"]
            row += [p_value(one["p_holm"]), one["verdict"]]
        rows.append(row)
    columns = ["Finding", "AUROC", "95 % interval", "p (Holm)", "Verdict"]
    columns += ["AP", "AP, 95 % interval", "AP, p (Holm)", "AP, verdict"]
    return (
        "<h2>Against another model</h2>"
        + paragraph(f"Differences: this one minus {against['other']}, on the same patients.")
        + paragraph(against["caution"] and f"{against['other']}: {against['caution']}", "caution")
        + table(columns, rows)
        + paragraph(
            "Both models are scored on the same resampled patients; p-values are corrected by Holm "
            "over the findings. A finding that fewer than ten patients have, or have not, is not "
            "tested.",
            "soft",
        )
    )


def _design(document: Document) -> str:
    models = [
        f"{m['path']} ({m['backbone']}, {m['weighter']}, epoch {m['epoch']}, {m['image_size']} px, "
        f"SHA-256 {m['sha256'][:HASH]}…)"
        for m in document["models"]
    ]
    entries = [
        ("Scored", "; ".join(models) or str(document["predictions"])),
        (
            "Labels",
            f"{document['labels'] or document['data']}, version {document['label_version']}",
        ),
        ("Part", f"{document['split']}; split scheme {document['split_scheme'] or 'not known'}"),
        ("Recognized as", document["split_title"] or "no published test part"),
        (
            "Intervals",
            f"95 %, expanded percentiles (Hesterberg 2015) of {document['bootstrap_replicates']:,} "
            f"resamplings of the patients, all images of a patient together, seed "
            f"{document['seed']}; a replicate without a positive or a negative is left out and "
            "counted",
        ),
        ("Labels without predictions", f"{document['labels_without_predictions']:,}"),
    ]
    return definitions(entries)

"""The report of an evaluation: one page that carries everything and opens without a network."""

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from deepchest_cli.evaluation.comparison.markup import (
    definitions,
    page_style,
    paragraph,
    picture,
    table,
)
from deepchest_cli.evaluation.comparison.page import HASH, shown
from deepchest_cli.evaluation.operating_points import RATES, RULES
from deepchest_cli.evaluation.output import words

Document = Mapping[str, Any]
Pictures = Mapping[str, bytes]


def report_page(document: Document, pictures: Pictures) -> str:
    """Return the page; `pictures` are SVG or PNG by their names."""
    template = files("deepchest_cli").joinpath("evaluation", "output", "page.html")
    return Template(template.read_text("utf-8")).substitute(
        style=page_style(),
        title="Evaluation",
        subtitle=f"deepchest {document['deepchest']}; {document['split']}: {document['images']:,} "
        f"radiographs of {document['patients']:,} patients",
        result=paragraph(words.result(document), "result"),
        caution=paragraph(words.caution(document), "caution"),
        findings=_findings(document, pictures),
        differences=_differences(document),
        references=_references(document),
        points=_points(document, pictures),
        calibration=_calibration(document, pictures),
        subgroups=_subgroups(document, pictures),
        localisation=_localisation(document),
        relabels=_relabels(document),
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
        "of nothing", "F1", "F1 macro", "Loss", "over prevalence's",
    ]  # fmt: skip
    rows = [
        [
            name,
            positives,
            shown(v["prevalence"]),
            words.metric(v, "auroc"),
            words.metric(v, "average_precision"),
            shown(v["lift"], 1),
            *(shown(v[key]) for key in ("accuracy", "accuracy_of_nothing", "f1", "f1_macro")),
            shown(v["loss"]),
            shown(v["loss_ratio"]),
        ]
        for name, positives, v in entries
    ]
    return (
        table(columns, rows)
        + paragraph(words.undefined(document), "soft")
        + paragraph(
            "In brackets 95 % intervals by resampled patients. Lift: average precision over the "
            "prevalence, which chance gives. Accuracy and F1 at 0.5; 'of nothing' is the accuracy "
            "of never calling the finding. A loss over that of always giving the prevalence of 1 "
            "knows nothing more than how often the finding occurs.",
            "soft",
        )
        + picture(pictures.get("roc"), "ROC curves with AUROC; the point is the threshold in use")
        + picture(
            pictures.get("precision-recall"),
            "Precision and recall with average precision; dotted: prevalence",
        )
    )


def _differences(document: Document) -> str:
    against = document["against"]
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
            row += [shown(one["p_holm"]), one["verdict"]]
        rows.append(row)
    columns = ["Finding", "AUROC", "95 % interval", "p (Holm)", "Verdict"]
    columns += ["AP", "AP, 95 % interval", "AP, p (Holm)", "AP, verdict"]
    return (
        "<h2>Against another model</h2>"
        + paragraph(f"Differences: this one minus {against['other']}, on the same patients.")
        + table(columns, rows)
        + paragraph(
            "Both models are scored on the same resampled patients; p-values are corrected by Holm "
            "over the findings. A finding that fewer than ten patients have, or have not, is not "
            "tested.",
            "soft",
        )
    )


def _references(document: Document) -> str:
    baseline, references = document["baseline"], document["references"]
    text = ""
    if baseline:
        text += paragraph(
            f"Age, sex and view alone, by logistic regression on {baseline['images']:,} images of "
            f"other patients: macro AUROC {words.with_interval(baseline['macro_auroc'])}."
        )
    names = list(document["findings"])
    columns = ["Finding", "Here", *(["Age, sex, view"] if baseline else [])]
    columns += [row["title"] for row in references["rows"]]
    rows = []
    for name in [*names, "Macro mean"]:
        whole = name == "Macro mean"
        here = document["macro"] if whole else document["findings"][name]
        cells = [name, words.metric(here, "auroc")]
        if baseline:
            found = baseline["macro_auroc"] if whole else baseline["findings"][name]
            cells.append(words.with_interval(found))
        for row in references["rows"]:
            value = row["macro_auroc"] if whole else (row["findings"] or {}).get(name)
            cells.append(shown(value))
        rows.append(cells)
    text += table(columns, rows)
    if references["rows"]:
        sources = "; ".join(f"{row['title']}: {row['source']}" for row in references["rows"])
        text += paragraph(f"Sources: {sources}.", "soft")
    else:
        text += paragraph("No published result on these very images is known here.", "soft")
    return text + paragraph(
        f"Results on other splits are not shown and are refused. {references['other_splits']}",
        "soft",
    )


def _points(document: Document, pictures: Pictures) -> str:
    points, choices = document["operating_points"], document["choices"]
    text = paragraph(choices["note"])
    if not points["findings"]:
        return text
    columns = ["Finding", "Validation positives", "Rule", "Threshold"]
    columns += ["Sensitivity", "Specificity", "PPV", "NPV"]
    rows = [
        [
            finding,
            str(entry["validation_positives"]),
            RULES[rule].title,
            *(
                [f"{point['threshold']:.4g}", *(words.with_interval(point[r]) for r in RATES)]
                if (point := entry[rule])
                else ["–"] * 5
            ),
        ]
        for finding, entry in points["findings"].items()
        for rule in RULES
    ]
    caption = (
        f"Confusion at the shared operating point ({RULES[points['shared_rule']].title}): images, "
        "and shares of those without and with the finding"
    )
    return (
        text
        + paragraph(choices["caution"], "caution")
        + picture(pictures.get("confusion"), caption)
        + table(columns, rows)
    )


def _calibration(document: Document, pictures: Pictures) -> str:
    found = document["calibration"]
    columns = ["Finding", "Prevalence", "Mean before", "after", "ECE before", "ECE after"]
    columns += ["Brier skill before", "skill after", "Slope before", "Intercept before"]
    columns += ["Slope after", "Intercept after", "Left, because"]
    rows = []
    for name, entry in found["findings"].items():
        before, after = entry["before"], entry["after"] or {}
        row = [name, shown(before["prevalence"])]
        for key, digits in (("mean_predicted", 3), ("ece", 4), ("brier_skill", 3)):
            row += [shown(before[key], digits), shown(after.get(key), digits)]
        row += [shown(before[key], 2) for key in ("slope", "intercept")]
        row += [shown(after.get(key), 2) for key in ("slope", "intercept")]
        rows.append([*row, entry["uncalibrated"] or ""])
    method = (
        f"{found['method']} scaling by finding, fitted on validation." if found["method"] else ""
    )
    return (
        paragraph(method)
        + picture(pictures.get("reliability"), "Reliability in ten bins of equal mass")
        + table(columns, rows, texts=("Left, because",))
        + paragraph(
            "Calibrated probabilities have ECE 0, slope 1 and intercept 0. ECE is small for every "
            "rare finding: read it beside the prevalence. Brier skill: 0 is always giving the "
            "prevalence, 1 is perfect. Weighting of tasks or positives moves probabilities, which "
            "AUROC does not see.",
            "soft",
        )
    )


def _subgroups(document: Document, pictures: Pictures) -> str:
    found = document["subgroups"]
    rows = [
        [
            group["attribute"],
            group["group"],
            f"{group['images']:,}",
            f"{group['patients']:,}",
            str(group["scored_findings"]),
            "suppressed" if group["suppressed"] else words.with_interval(group["macro_auroc"]),
            words.with_interval(group["underdiagnosis"]),
        ]
        for group in found["groups"]
    ]
    columns = ["Group by", "Group", "Images", "Patients", "Findings", "Macro AUROC"]
    return (
        picture(pictures.get("subgroups"), "Subgroups, in brackets images and scored findings")
        + table([*columns, "Underdiagnosis"], rows)
        + paragraph(
            f"{found['rule']} Macro means of groups with other findings scored do not compare. "
            "Underdiagnosis: the share of images with a finding that are called free of all. "
            "False negative and false positive rates by finding are in subgroups.csv.",
            "soft",
        )
    )


def _localisation(document: Document) -> str:
    found = document["localisation"]
    if not found:
        return paragraph(document["localisation_note"] or "Not scored.", "soft")
    kinds = list(found["maps"])
    names = {"grad_cam": "Grad-CAM", "cam": "CAM", "random": "Noise"}
    entries = [*found["chance"]["findings"], "all"]
    rows = []
    for name in entries:
        shares = {
            kind: found["maps"][kind]["findings"].get(name, found["maps"][kind]["all"])
            for kind in kinds
        }
        chance = found["chance"]["findings"].get(name, found["chance"]["all"])
        row = [name, str(shares[kinds[0]]["boxes"]), shown(chance)]
        row += [words.with_interval(shares[kind]["pointing"]) for kind in kinds]
        row += [shown(shares["grad_cam"][f"iou_{level}"]["value"]) for level in (0.1, 0.3, 0.5)]
        row += [shown(shares["grad_cam"][f"iobb_{level}"]["value"]) for level in (0.1, 0.25, 0.5)]
        rows.append(row)
    columns = ["Finding", "Boxes", "Chance by area", *(f"{names[k]}: points" for k in kinds)]
    columns += [f"IoU ≥ {level}" for level in (0.1, 0.3, 0.5)]
    columns += [f"IoBB ≥ {level}" for level in (0.1, 0.25, 0.5)]
    cells = " × ".join(map(str, found["cells"]))
    without = f" No CAM: {found['without_cam']}." if found["without_cam"] else ""
    return table(columns, rows) + paragraph(
        f"Maps of {cells} cells. Points: the middle of the highest cell lies in the box. IoU and "
        f"IoBB of Grad-CAM's region at half of its range.{without} {found['left_out']:,} boxes are "
        "of images that are not scored or of findings that are not predicted.",
        "soft",
    )


def _relabels(document: Document) -> str:
    found = document["relabels"]
    if not found:
        return ""
    rows = [
        [
            name,
            f"{entry['images']:,}",
            f"{entry['positives']:,}",
            words.with_interval(entry["auroc"]),
            words.with_interval(entry["average_precision"]),
            words.with_interval(entry["nih_ppv"]),
            words.with_interval(entry["nih_sensitivity"]),
        ]
        for name, entry in found["findings"].items()
    ]
    columns = ["Finding", "Images", "Positives", "AUROC", "Average precision"]
    return (
        "<h2>By radiologists' labels</h2>"
        + table([*columns, "PPV of NIH's label", "Its sensitivity"], rows)
        + paragraph(
            "Labels by radiologists (Majkowska et al. 2020) of an enriched sample, which is no "
            "population. Several findings under one label count by the highest probability.",
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
        ("Recognised as", document["split_title"] or "no published test part"),
        (
            "Intervals",
            f"95 %, percentiles of {document['replicates']:,} resamplings of the patients (all "
            f"images of a patient come and go together), seed {document['seed']}; a replicate "
            "without a positive or a negative is left out and counted",
        ),
        ("Labels without predictions", f"{document['labels_without_predictions']:,}"),
    ]
    return definitions(entries)

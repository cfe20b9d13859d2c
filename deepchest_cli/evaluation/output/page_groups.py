"""Sections of the page: subgroups, localization and second labels."""

from collections.abc import Mapping
from typing import Any

from deepchest_cli.comparison.output.page import shown
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.output import words
from deepchest_cli.reporting.markup import paragraph, picture, table

Document = Mapping[str, Any]
Pictures = Mapping[str, bytes]


def subgroups_section(document: Document, pictures: Pictures) -> str:
    """Return for whom the model works."""
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


def localization_section(document: Document) -> str:
    """Return where the model looks."""
    found = document["localization"]
    if not found:
        return paragraph(document["localization_note"] or "Not scored.", "soft")
    kinds = list(found["maps"])
    names = {"grad_cam": "Grad-CAM", "cam": "CAM", "random": "Noise"}
    entries = [*found["random_baseline"]["findings"], "all"]
    rows = []
    for name in entries:
        shares = {
            kind: found["maps"][kind]["findings"].get(name, found["maps"][kind]["all"])
            for kind in kinds
        }
        chance = found["random_baseline"]["findings"].get(name, found["random_baseline"]["all"])
        row = [name, str(shares[kinds[0]]["boxes"]), shown(chance)]
        row += [words.with_interval(shares[kind]["pointing_game_accuracy"]) for kind in kinds]
        row += [shown(shares["grad_cam"][f"iou_{level}"]["value"]) for level in (0.1, 0.3, 0.5)]
        row += [shown(shares["grad_cam"][f"iobb_{level}"]["value"]) for level in (0.1, 0.25, 0.5)]
        rows.append(row)
    columns = ["Finding", "Boxes", "Chance by area", *(f"{names[k]}: points" for k in kinds)]
    columns += [f"IoU ≥ {level}" for level in (0.1, 0.3, 0.5)]
    columns += [f"IoBB ≥ {level}" for level in (0.1, 0.25, 0.5)]
    cells = " × ".join(map(str, found["cells"]))
    without = (
        f" No CAM: {found['cam_unavailable_reason']}." if found["cam_unavailable_reason"] else ""
    )
    return table(columns, rows) + paragraph(
        f"Maps of {cells} cells. Points: the middle of the highest cell lies in the box. IoU and "
        f"IoBB of Grad-CAM's region at half of its range.{without} "
        f"{count_of(found['excluded'], 'box is', 'boxes are')} "
        "of images that are not scored or of findings that are not predicted.",
        "soft",
    )


def relabels_section(document: Document) -> str:
    """Return figures by the second labels; nothing without them."""
    found = document["expert_labels"]
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

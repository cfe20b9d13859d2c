"""Sections of the page: references, operating points and calibration."""

from collections.abc import Mapping
from typing import Any

from deepchest_cli.comparison.output.page import shown
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RATES, RULES
from deepchest_cli.evaluation.output import words
from deepchest_cli.reporting.markup import paragraph, picture, table

Document = Mapping[str, Any]
Pictures = Mapping[str, bytes]


def references_section(document: Document) -> str:
    """Return what a model has to beat and what may stand beside it."""
    baseline, references = document["baseline"], document["references"]
    text = ""
    if baseline:
        text += paragraph(
            "Age, sex and view alone, by logistic regression on "
            f"{count_of(baseline['images'], 'image')} of other patients: macro AUROC "
            f"{words.with_interval(baseline['macro_auroc'])}."
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


def points_section(document: Document, pictures: Pictures) -> str:
    """Return thresholds and what they do here."""
    points, choices = document["operating_points"], document["validation_fit"]
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
        "Confusion at the reference operating point "
        f"({RULES[points['reference_operating_point']].title}): images, "
        "and shares of those without and with the finding"
    )
    return (
        text
        + paragraph(choices["caution"], "caution")
        + picture(pictures.get("confusion"), caption)
        + table(columns, rows)
    )


def calibration_section(document: Document, pictures: Pictures) -> str:
    """Return how far probabilities can be believed."""
    found = document["calibration"]
    columns = [
        "Finding",
        "Prevalence",
        "on validation",
        "Mean before",
        "after",
        "ECE before",
        "ECE after",
    ]
    columns += ["Brier skill before", "skill after", "Slope before", "Intercept before"]
    columns += ["Slope after", "Intercept after"]
    rows = []
    for name, entry in found["findings"].items():
        before, after = entry["before"], entry["after"] or {}
        row = [name, shown(before["prevalence"]), shown(entry["validation_prevalence"])]
        for key, digits in (("mean_predicted", 3), ("ece", 4), ("brier_skill", 3)):
            row += [shown(before[key], digits), shown(after.get(key), digits)]
        row += [shown(before[key], 2) for key in ("slope", "intercept")]
        row += [shown(after.get(key), 2) for key in ("slope", "intercept")]
        rows.append(row)
    left = [f"{n} ({e['uncalibrated']})" for n, e in found["findings"].items() if e["uncalibrated"]]
    method = found["method"] or ""
    caption = "Reliability; orange: as predicted, blue: calibrated on validation"
    return (
        paragraph(method and f"{method.capitalize()} scaling by finding, fitted on validation.")
        + picture(pictures.get("reliability"), caption)
        + table(columns, rows)
        + paragraph(f"Left as they are: {'; '.join(left)}." if left else "", "soft")
        + paragraph(
            "Calibrated probabilities have ECE 0, slope 1 and intercept 0. ECE is small for every "
            "rare finding: read it beside the prevalence. Brier skill: 0 is always giving the "
            "prevalence, 1 is perfect. Weighting of tasks or positives moves probabilities, which "
            "AUROC does not see. Where a finding is rarer or more frequent here than on "
            "validation, what validation fitted cannot hold here.",
            "soft",
        )
    )

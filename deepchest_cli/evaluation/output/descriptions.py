"""What the plots of an evaluation show, in words for those who cannot see them."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.reporting.numbers import number, with_interval

Document = Mapping[str, Any]


def descriptions(document: Document) -> dict[str, str]:
    """Return the alternative text of each figure of a report, by the figure's name."""
    findings, macro = document["findings"], document["macro"]
    panels = f"of {count_of(len(findings), 'finding')}, a panel each"
    aurocs = _range((name, values["auroc"]) for name, values in findings.items())
    precisions = _range((name, v["average_precision"]) for name, v in findings.items())
    return {
        "roc": f"ROC curves {panels}. AUROC {aurocs}; macro mean {number(macro['auroc'])}.",
        "precision-recall": f"Precision-recall curves {panels}. Average precision {precisions}; "
        f"macro mean {number(macro['average_precision'])}.",
        "confusion": _confusion(document),
        "reliability": _reliability(document),
        "subgroups": _subgroups(document),
        "errors": "Radiographs of the most confident errors, which are named above each: findings "
        "that the model missed, and findings that it predicted where they are absent.",
    }


def forest_description(found: Document) -> str:
    """Return the alternative text of the AUROC by finding and data set."""
    rows = [f"{one['name']} {with_interval(one['macro_auroc'])}" for one in found["data_sets"]]
    return (
        f"Forest plot of the AUROC of {count_of(len(found['findings']), 'finding')} on "
        f"{count_of(len(rows), 'data set')}. Macro mean over shared findings: {'; '.join(rows)}."
    )


def _confusion(document: Document) -> str:
    points = document["operating_points"]
    rule = points["reference_operating_point"]
    chosen = {name: entry[rule] for name, entry in points["findings"].items() if entry[rule]}
    ranges = [
        f"{rate} {_range((name, point[rate]['value']) for name, point in chosen.items())}"
        for rate in ("sensitivity", "specificity")
    ]
    return (
        f"Confusion matrices of {count_of(len(chosen), 'finding')} at the threshold of "
        f"{RULES[rule].title}: {'; '.join(ranges)}."
    )


def _reliability(document: Document) -> str:
    entries, parts = document["calibration"]["findings"], []
    for when, title in (("before", "uncalibrated"), ("after", "calibrated")):
        values = [(name, entry[when]["ece"]) for name, entry in entries.items() if entry[when]]
        if values:
            parts.append(f"{title}: ECE {_range(values)}")
    return (
        f"Reliability diagrams of {count_of(len(entries), 'finding')}, a panel each"
        f"{': ' * bool(parts)}{'; '.join(parts)}."
    )


def _subgroups(document: Document) -> str:
    groups = [group for group in document["subgroups"]["groups"] if not group["suppressed"]]
    values = [(group["group"], group["macro_auroc"]["value"]) for group in groups]
    return (
        f"Macro AUROC and underdiagnosis of {count_of(len(groups), 'subgroup')} with intervals. "
        f"Macro AUROC {_range(values)}; all: {number(document['macro']['auroc'])}."
    )


def _range(named: Iterable[tuple[str, float]]) -> str:
    """Return the smallest and the largest value with their names; undefined ones do not count."""
    values = [(value, name) for name, value in named if not math.isnan(value)]
    if not values:
        return "undefined"
    (low, lowest), (high, highest) = min(values), max(values)
    if len(values) == 1:
        return f"{number(low)} ({lowest})"
    return f"from {number(low)} ({lowest}) to {number(high)} ({highest})"

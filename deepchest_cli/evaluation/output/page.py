"""The report of an evaluation: one page that needs no other file and no network."""

from collections.abc import Mapping
from typing import Any

from deepchest_cli.evaluation.localization import IOBB_LEVELS, IOU_LEVELS
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.output import statements
from deepchest_cli.evaluation.output.descriptions import descriptions
from deepchest_cli.reporting.html import render
from deepchest_cli.reporting.numbers import number, with_interval

Document = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]  # columns, rows
MEAN = "Macro mean"


def report_page(document: Document, figures: Mapping[str, bytes]) -> str:
    """Return the page; `figures` are SVG or PNG by their names."""
    groups = document["subgroups"]["groups"]
    return render(
        "evaluation/output/page.html",
        document=document,
        figures=figures,
        alt=descriptions(document),
        say=statements,
        rules=RULES,
        groups=[group for group in groups if " and " not in group["attribute"]],
        combinations=[group for group in groups if " and " in group["attribute"]],
        results={**document["findings"], MEAN: document["macro"]},
        references=_references(document),
        localization=_localization(document["localization"]),
    )


def _references(document: Document) -> Table:
    """Return the AUROC beside that of the metadata baseline and of published models."""
    baseline, published = document["baseline"], document["references"]["rows"]
    columns = ["Finding", "This model", *(["Metadata baseline", "Difference"] if baseline else [])]
    rows = []
    for name, values in [*document["findings"].items(), (MEAN, document["macro"])]:
        row = [name, statements.metric(values, "auroc")]
        if baseline:
            whole = name == MEAN
            found = baseline["macro_auroc"] if whole else baseline["findings"][name]
            gain = baseline["macro_difference"] if whole else baseline["differences"][name]
            row += [with_interval(found), with_interval(gain, sign=True)]
        for one in published:
            value = one["macro_auroc"] if name == MEAN else (one["findings"] or {}).get(name)
            row.append(number(value))
        rows.append(row)
    return [*columns, *(one["title"] for one in published)], rows


def _localization(found: Document | None) -> Table:
    """Return how often each kind of map, and Grad-CAM's region, agrees with the boxes."""
    if not found:
        return [], []
    maps, baseline = found["maps"], found["random_baseline"]
    columns = ["Finding", "Boxes", "Random baseline"]
    columns += [f"Pointing game: {statements.MAP_NAMES[kind]}" for kind in maps]
    columns += [f"IoU ≥ {level}" for level in IOU_LEVELS]
    columns += [f"IoBB ≥ {level}" for level in IOBB_LEVELS]
    keys = [f"iou_{level:g}" for level in IOU_LEVELS] + [f"iobb_{one:g}" for one in IOBB_LEVELS]
    rows = []
    for name in [*baseline["findings"], None]:
        if name is None:
            title, random = "All boxes", baseline["all"]
            shares = [entry["all"] for entry in maps.values()]
        else:
            title, random = name, baseline["findings"][name]
            shares = [entry["findings"][name] for entry in maps.values()]
        region = shares[list(maps).index("grad_cam")]
        row = [title, str(region["boxes"]), number(random)]
        row += [with_interval(share["pointing_game_accuracy"]) for share in shares]
        rows.append([*row, *(number(region[key]["value"]) for key in keys)])
    return columns, rows

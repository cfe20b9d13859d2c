"""The report of several data sets: a page and tables of what they have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.output import statements
from deepchest_cli.evaluation.output.descriptions import forest_description
from deepchest_cli.evaluation.output.folder import REPORT, RESULTS
from deepchest_cli.evaluation.output.tables import data_set_rows
from deepchest_cli.files import atomic_write, sweep, to_csv, write_json, write_text
from deepchest_cli.reporting.html import render
from deepchest_cli.reporting.numbers import integer, number, significant, with_interval
from deepchest_cli.reporting.plots import (
    COLORS,
    MARKERS,
    PAGE,
    TITLE,
    TYPE,
    fitted,
    hide_frame,
    new_figure,
    render_figures,
    text_width,
)
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN = "Macro mean"
RATES, LINE = ("sensitivity", "specificity"), ("slope", "intercept")
TABLE, FIGURE = "data-sets.csv", "auroc"
ROW, FINDING = 9, 15  # points for an interval, and for a finding at least

Document = Mapping[str, Any]
Table = tuple[list[str], list[list[str]]]  # columns, rows


def write_external_report(folder: Path, document: Document) -> None:
    """Write page, table, results and plot of several data sets; their own are in folders below."""
    found = document["external_validation"]
    png, svg = render_figures({FIGURE: lambda: forest_figure(found)})[FIGURE]
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    rows = list(data_set_rows(dict(document)))
    write_text(folder / TABLE, to_csv(list(rows[0]), rows))
    write_json(folder / RESULTS, versioned(document))
    with atomic_write(folder / f"{FIGURE}.png") as temporary:
        temporary.write_bytes(png)
    write_text(folder / REPORT, external_page(document, svg))


def external_page(document: Document, figure: bytes) -> str:
    """Return the page; figure: the forest plot, as SVG."""
    found = document["external_validation"]
    return render(
        "evaluation/output/external.html",
        document=document,
        first=document["data_sets"][0],
        found=found,
        figure=figure,
        figure_text=forest_description(found),
        say=statements,
        title=title(found),
        fits=fits(document),
        summary=result(found),
        aurocs=auroc_table(found, 3),
        drops=drop_table(found, 3),
        carried=[carried_table(one) for one in found["data_sets"]],
        rule=RULES[found["reference_operating_point"]].title,
        report=REPORT,
    )


def is_external(found: Document) -> bool:
    """Whether any of the data sets is none that the model was trained on."""
    return not all(one["is_training_data_set"] for one in found["data_sets"])


def title(found: Document) -> str:
    """Return what the scores on several data sets are."""
    return "External validation" if is_external(found) else "Evaluation by data set of training"


def minus(found: Document) -> str:
    """Return what a difference to the first data set is called."""
    name = found["reference"]
    return f"Drop from {name}" if is_external(found) else f"{name} minus"


def fits(document: Document) -> list[str]:
    """Return where thresholds and calibration come from, once where it is the same on all."""
    notes = [one["validation_fit"]["note"] for one in document["data_sets"]]
    if len(set(notes)) == 1:
        return [f"Thresholds and calibration, the same on all data sets: {notes[0]}"]
    names = [one["name"] for one in document["external_validation"]["data_sets"]]
    pairs = zip(names, notes, strict=True)
    return [f"Thresholds and calibration on {name}: {note}" for name, note in pairs]


def result(found: Document) -> list[str]:
    """Return what the model loses on each data set beside the first, a sentence each."""
    over = count_of(len(found["shared_findings"]), "finding")
    first, *others = found["data_sets"]
    if not found["shared_findings"]:
        return ["No finding has a defined AUROC on all data sets: there is no macro mean over all."]
    start = f"Macro AUROC over the {over} of all data sets: {_value(first)} on {first['name']}"
    external, drops = is_external(found), []
    for one in others:
        called = "a drop of" if external else f"{minus(found)} {one['name']}:"
        drop = with_interval(one["drop"]["macro_auroc"], sign=not external)
        drops.append(f"{_value(one)} on {one['name']}, {called} {drop}")
    return ["; ".join([start, *drops]) + "."]


def _value(one: Document) -> str:
    return with_interval(one["macro_auroc"])


def auroc_table(found: Document, digits: int) -> Table:
    """Return the AUROC with its interval, a column for each data set; both kinds of means last."""
    sets = found["data_sets"]
    rows = [
        [name, *(_cell(one["findings"].get(name), digits) for one in sets)]
        for name in found["findings"]
    ]
    for title, key in (
        (f"Macro, {len(found['shared_findings'])} shared", "macro_auroc"),
        ("Macro, all own", "own_macro_auroc"),
    ):
        rows.append([title, *(with_interval(one[key], digits) for one in sets)])
    return ["AUROC", *(one["name"] for one in sets)], rows


def drop_table(found: Document, digits: int) -> Table:
    """Return the AUROC of the first data set minus that of each other, a column each."""
    others = found["data_sets"][1:]
    by_finding = {n: [one["drop"]["findings"].get(n) for one in others] for n in found["findings"]}
    by_finding[f"Macro, {len(found['shared_findings'])} shared"] = [
        one["drop"]["macro_auroc"] for one in others
    ]
    columns = [minus(found), *(one["name"] for one in others)]
    return columns, [
        [name, *("–" if d is None else with_interval(d, digits, sign=True) for d in drops)]
        for name, drops in by_finding.items()
        if any(drops)
    ]


def carried_table(one: Document) -> Table:
    """Return what the model's thresholds and calibration do on a data set, by finding."""
    columns = ["Finding", "Positives", "Prevalence", "Threshold", "Sensitivity", "Specificity"]
    columns += ["Slope before", "Intercept before", "Slope", "Intercept"]
    rows = []
    for name, entry in one["findings"].items():
        point = entry["operating_point"]
        row = [name, integer(entry["positives"]), number(entry["prevalence"])]
        row += [significant(point["threshold"], 3)] if point else ["–"]
        row += [with_interval(point[rate]) if point else "–" for rate in RATES]
        for when in ("before", "after"):
            line = entry["calibration"][when]
            row += [with_interval(line[key], 2) if line else "–" for key in LINE]
        rows.append(row)
    return columns, rows


def short_carried_table(one: Document) -> Table:
    """Return the same for 80 columns: no intervals; slope and intercept as they are carried."""
    rows = []
    for name, entry in one["findings"].items():
        point = entry["operating_point"]
        line = entry["calibration"]["after"] or entry["calibration"]["before"]
        row = [name, integer(entry["positives"]), number(entry["prevalence"])]
        row += [number(point[rate]["value"], 2) if point else "–" for rate in RATES]
        rows.append([*row, *(number(line[key]["value"], 2) for key in LINE)])
    return ["Finding", "positives", "prevalence", "sens.", "spec.", "slope", "intercept"], rows


def _cell(entry: Document | None, digits: int) -> str:
    return "not scored" if entry is None else with_interval(entry["auroc"], digits)


def forest_figure(found: Document) -> "Figure":
    """Return the AUROC with its interval by finding, the data sets below each other."""
    sets = found["data_sets"]
    names = [*found["findings"], MEAN]
    figure = new_figure(66 + len(names) * max(ROW * (len(sets) + 0.6), FINDING))
    axes = figure.subplots()
    for number_of, one in enumerate(sets):
        values = [one["findings"].get(name, {}).get("auroc") for name in names[:-1]]
        values.append(one["macro_auroc"])
        color, marker = COLORS[number_of % len(COLORS)], MARKERS[number_of % len(MARKERS)]
        for place, value in enumerate(values):
            if value is None or not np.isfinite(value["value"]):
                continue
            height = place + (number_of - (len(sets) - 1) / 2) / (len(sets) + 0.6)
            axes.plot([value["low"], value["high"]], [height, height], color=color, linewidth=1.2)
            axes.plot(value["value"], height, marker, color=color, markersize=5)
        label = fitted(one["name"], PAGE / 2)
        axes.plot([], [], marker=marker, color=color, markersize=5, label=label)
    axes.axvline(0.5, color="black", linewidth=0.7, linestyle=":")
    axes.axhline(len(names) - 1.5, color="black", linewidth=0.5)
    axes.set_yticks(range(len(names)), [fitted(name, PAGE / 3) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("AUROC, 95 % CI", fontsize=TITLE)
    axes.tick_params(labelsize=TYPE)
    axes.grid(axis="x", linewidth=0.3)
    widest = max(text_width(fitted(one["name"], PAGE / 2)) for one in sets) + 40
    figure.legend(
        fontsize=TYPE, loc="outside upper right", ncols=max(1, min(len(sets), int(PAGE / widest)))
    )
    hide_frame(axes)
    return figure

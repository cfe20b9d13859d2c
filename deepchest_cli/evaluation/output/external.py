"""The report of several data sets: a page and tables of what they have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.output import statements
from deepchest_cli.evaluation.output.folder import REPORT, RESULTS
from deepchest_cli.evaluation.output.tables import data_set_rows
from deepchest_cli.files import atomic_write, sweep, to_csv, write_json, write_text
from deepchest_cli.reporting.html import render
from deepchest_cli.reporting.numbers import integer, number, significant, with_interval
from deepchest_cli.reporting.plots import COLORS, hide_frame, new_figure, render_figures
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN = "Macro mean"
TABLE, FIGURE = "data-sets.csv", "auroc"
ROW = 0.2  # inches for an interval

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
        found=found,
        first=document["data_sets"][0],
        figure=figure,
        say=statements,
        summary=result(found),
        aurocs=auroc_table(found, 3),
        drops=drop_table(found, 3),
        carried=[carried_table(one, 3) for one in found["data_sets"]],
        rule=RULES[found["reference_operating_point"]].title,
        report=REPORT,
    )


def result(found: Document) -> list[str]:
    """Return what the model loses on each data set beside the first, a sentence each."""
    over = count_of(len(found["shared_findings"]), "finding")
    first, *others = found["data_sets"]
    if not found["shared_findings"]:
        return ["No finding has a defined AUROC on all data sets: there is no macro mean over all."]
    start = f"Macro AUROC over the {over} of all data sets: {_value(first)} on {first['name']}"
    drops = [
        f"{_value(one)} on {one['name']}, a drop of "
        f"{with_interval(one['drop']['macro_auroc'], sign=True)}"
        for one in others
    ]
    return ["; ".join([start, *drops]) + "."]


def _value(one: Document) -> str:
    return with_interval(one["macro_auroc"])


def auroc_table(found: Document, digits: int) -> Table:
    """Return the AUROC with its interval, a column for each data set; both kinds of means last."""
    sets = found["data_sets"]
    rows = [
        [name, *(_cell(one["findings"].get(name), "auroc", digits) for one in sets)]
        for name in found["findings"]
    ]
    means = [one["own_macro_auroc"] for one in sets]
    own = [f"{with_interval(mean, digits)}, {mean['scored_findings']}" for mean in means]
    shared = [with_interval(one["macro_auroc"], digits) for one in sets]
    rows += [["Macro, shared", *shared], ["Macro, own", *own]]
    return ["AUROC", *(one["name"] for one in sets)], rows


def drop_table(found: Document, digits: int) -> Table:
    """Return the drops of AUROC from the first data set, a column for each other."""
    others = found["data_sets"][1:]
    rows = []
    for name in found["findings"]:
        drops = [one["drop"]["findings"].get(name) for one in others]
        rows.append([name, *(_drop(one, digits) for one in drops)])
    means = [_drop(one["drop"]["macro_auroc"], digits) for one in others]
    columns = [f"Drop from {found['reference']}", *(one["name"] for one in others)]
    return columns, [*rows, ["Macro, shared", *means]]


def carried_table(one: Document, digits: int, intervals: bool = True) -> Table:
    """Return what a data set makes of the model's thresholds and calibration, by finding."""
    write = with_interval if intervals else lambda found, digits: number(found["value"], digits)
    columns = ["Finding", "Positives", "Prevalence", "Threshold", "Sensitivity", "Specificity"]
    rows = []
    for name, entry in one["findings"].items():
        point, scaled = entry["operating_point"], entry["calibration"]
        row = [name, integer(entry["positives"]), number(entry["prevalence"])]
        row += [significant(point["threshold"], 3)] if point else ["–"]
        row += [
            write(point[rate], digits) if point else "–" for rate in ("sensitivity", "specificity")
        ]
        when = scaled["after"] or scaled["before"]
        row += [write(when[key], 2) for key in ("slope", "intercept")]
        if intervals:
            before = scaled["before"]
            row += [write(before[key], 2) for key in ("slope", "intercept")]
        rows.append(row)
    columns += ["Slope", "Intercept"]
    return [*columns, *(["Slope before", "Intercept before"] if intervals else [])], rows


def _cell(entry: Document | None, key: str, digits: int) -> str:
    return "not scored" if entry is None else with_interval(entry[key], digits)


def _drop(found: Document | None, digits: int) -> str:
    return "–" if found is None else with_interval(found, digits, sign=True)


def forest_figure(found: Document) -> "Figure":
    """Return the AUROC with its interval by finding, the data sets below each other."""
    sets = found["data_sets"]
    names = [*found["findings"], MEAN]
    figure = new_figure(7, 0.9 + ROW * len(names) * (len(sets) + 0.6))
    axes = figure.subplots()
    for number_of, one in enumerate(sets):
        values = [one["findings"].get(name, {}).get("auroc") for name in names[:-1]]
        values.append(one["macro_auroc"])
        for place, value in enumerate(values):
            if value is None or not np.isfinite(value["value"]):
                continue
            height = place + (number_of - (len(sets) - 1) / 2) / (len(sets) + 0.6)
            color = COLORS[number_of % len(COLORS)]
            axes.plot([value["low"], value["high"]], [height, height], color=color, linewidth=1.2)
            axes.plot(value["value"], height, "o", color=color, markersize=4)
        axes.plot([], [], "o-", color=COLORS[number_of % len(COLORS)], label=one["name"])
    axes.axvline(0.5, color="black", linewidth=0.7, linestyle=":")
    axes.axhline(len(names) - 1.5, color="black", linewidth=0.5)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("AUROC, 95 % CI", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", linewidth=0.3)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=len(sets))
    hide_frame(axes)
    return figure

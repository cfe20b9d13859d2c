"""The pictures of an evaluation: curves, reliability, subgroups, confusions."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.comparison.output.pictures import new_figure
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.output.curves import precision_recall_curve, roc_curve
from deepchest_cli.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 5  # panels beside each other
PANEL = 2.1  # inches
BLUE, ORANGE, GREY = "#2a6fdb", "#e06c00", "#57606a"
ROW = 0.24  # inches for a subgroup

Document = Mapping[str, Any]


def _panels(
    findings: tuple[str, ...], draw: Callable[["Axes", int], None], across: str, up: str
) -> "Figure":
    """Return a figure of a panel for each finding, with one name for each axis."""
    columns = min(ACROSS, len(findings))
    rows = -(-len(findings) // columns)
    figure = new_figure(PANEL * columns + 0.4, PANEL * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(findings) :]:
        axes.set_visible(False)
    for column, name in enumerate(findings):
        axes = grid.flat[column]
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, column)
        axes.set_title(f"{name}{axes.get_title()}", fontsize=8)
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(up, fontsize=9)
    return figure


def _known(table: Predictions, column: int) -> tuple[Any, Floats]:
    rows = table.known[:, column] == 1
    return table.labels[rows, column], table.probabilities[rows, column]


def _nothing(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "undefined", ha="center", va="center", fontsize=8, color=GREY)


def roc_figure(document: Document, table: Predictions) -> "Figure":
    """Return the ROC curves with the shared operating point."""

    def draw(axes: "Axes", column: int) -> None:
        labels, scores = _known(table, column)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":")
        if not 0 < labels.sum() < len(labels):
            _nothing(axes)
            return
        axes.plot(*roc_curve(labels, scores).T, color=BLUE, linewidth=1.2)
        axes.set_title(f"  {document['findings'][table.findings[column]]['auroc']:.3f}")
        point = _shared_point(document, table.findings[column])
        if point:
            place = (1 - point["specificity"]["value"], point["sensitivity"]["value"])
            axes.plot(*place, "o", color=ORANGE, markersize=4)

    return _panels(table.findings, draw, "1 − specificity", "sensitivity")


def _shared_point(document: Document, finding: str) -> Any:
    points = document["operating_points"]
    return points["findings"].get(finding, {}).get(points["reference_operating_point"])


def precision_recall_figure(document: Document, table: Predictions) -> "Figure":
    """Return precision against recall, with the prevalence as the floor."""

    def draw(axes: "Axes", column: int) -> None:
        labels, scores = _known(table, column)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        if not labels.any():
            _nothing(axes)
            return
        axes.plot(*precision_recall_curve(labels, scores).T, color=BLUE, linewidth=1.2)
        axes.axhline(labels.mean(), color=GREY, linewidth=0.6, linestyle=":")
        found = document["findings"][table.findings[column]]["average_precision"]
        axes.set_title(f"  {found:.3f}")

    return _panels(table.findings, draw, "recall (sensitivity)", "precision (PPV)")


def reliability_figure(document: Document) -> "Figure":
    """Return observed against predicted shares, before and after calibration."""
    findings = document["calibration"]["findings"]

    def draw(axes: "Axes", column: int) -> None:
        entry = list(findings.values())[column]
        most = 0.0
        for name, color in (("before", ORANGE), ("after", BLUE)):
            bins = entry[name]["bins"] if entry[name] else []
            predicted = [one["predicted"] for one in bins]
            observed = [one["observed"] for one in bins]
            most = max([most, *predicted, *observed])
            axes.plot(predicted, observed, "o-", color=color, markersize=2.5, linewidth=1)
        limit = 1.05 * most or 1.0
        axes.set(xlim=(0, limit), ylim=(0, limit), aspect="equal")
        axes.plot([0, limit], [0, limit], color=GREY, linewidth=0.6, linestyle=":")

    names = tuple(findings)
    return _panels(names, draw, "mean probability in bins of equal mass", "share of positives")


def confusion_figure(document: Document) -> "Figure":
    """Return the confusion at the shared operating point, shares within those with and without."""
    points = document["operating_points"]["findings"]

    def draw(axes: "Axes", column: int) -> None:
        axes.set_xticks([0, 1], ["not called", "called"], fontsize=6)
        axes.set_yticks([0, 1], ["absent", "present"], fontsize=6, rotation=90, va="center")
        axes.spines[:].set_visible(False)
        point = _shared_point(document, list(points)[column])
        if not point:
            axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
            _nothing(axes)
            return
        counts = np.array([[point["tn"], point["fp"]], [point["fn"], point["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (i, j), share in np.ndenumerate(shares):
            text = f"{counts[i, j]:,}\n{share:.0%}"
            color = "w" if share > 0.6 else "k"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=color)

    return _panels(tuple(points), draw, "", "")


def subgroups_figure(document: Document) -> "Figure":
    """Return each group's macro AUROC, and its underdiagnosis where there is a threshold."""
    groups = [g for g in document["subgroups"]["groups"] if not g["suppressed"]]
    titles = {"macro_auroc": "macro AUROC over the scored findings"}
    if document["subgroups"]["operating_point"]:
        titles["underdiagnosis"] = "underdiagnosis: called free of all findings"
    figure = new_figure(9, 1.2 + ROW * max(len(groups), 1))
    panels = np.atleast_1d(figure.subplots(1, len(titles), sharey=True))
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for place, group in enumerate(groups):
            found = group[name]
            crossed = " and " in group["attribute"]
            color = GREY if crossed else BLUE
            axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=1.2)
            axes.plot(found["value"], place, "o", color=color, markersize=3 if crossed else 4.5)
        axes.set_title(title, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", linewidth=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    whole = document["macro"]["auroc"]
    panels[0].axvline(whole, color="black", linewidth=0.7, linestyle=":")
    labels = [f"{g['group']}  ({g['images']:,} images, {g['scored_findings']})" for g in groups]
    panels[0].set_yticks(range(len(groups)), labels, fontsize=7)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure

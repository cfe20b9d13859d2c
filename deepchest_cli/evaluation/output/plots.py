"""The plots of an evaluation: curves, reliability diagrams, subgroups, confusion matrices."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.evaluation.metrics import Floats, Labels
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.units import PLURAL
from deepchest_cli.reporting.numbers import integer, number
from deepchest_cli.reporting.plots import BLUE, GRAY, ORANGE, hide_frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 5  # panels beside each other
PANEL = 2.1  # inches
ROW = 0.24  # inches for a subgroup
PANELS = {  # of the subgroups
    "macro_auroc": "macro AUROC over the scored findings",
    "underdiagnosis": "underdiagnosis: predicted negative for all findings",
}
TOLERANCE = 0.002  # of an axis from 0 to 1; a plot's pixel is larger

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
        hide_frame(axes)
        draw(axes, column)
        axes.set_title(f"{name}{axes.get_title()}", fontsize=8)
    figure.supxlabel(across, fontsize=9)
    figure.supylabel(up, fontsize=9)
    return figure


def _say_undefined(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "undefined", ha="center", va="center", fontsize=8, color=GRAY)


def roc_figure(document: Document, table: Predictions) -> "Figure":
    """Return the ROC curves with the reference operating point."""

    def draw(axes: "Axes", column: int) -> None:
        _, labels, scores = table.known_labels(column)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.6, linestyle=":")
        if not 0 < labels.sum() < len(labels):
            _say_undefined(axes)
            return
        axes.plot(*roc_curve(labels, scores).T, color=BLUE, linewidth=1.2)
        axes.set_title(f"  {number(document['findings'][table.findings[column]]['auroc'])}")
        point = _reference_point(document, table.findings[column])
        if point:
            place = (1 - point["specificity"]["value"], point["sensitivity"]["value"])
            axes.plot(*place, "o", color=ORANGE, markersize=4)

    return _panels(table.findings, draw, "1 − specificity", "sensitivity")


def _reference_point(document: Document, finding: str) -> Any:
    points = document["operating_points"]
    return points["findings"].get(finding, {}).get(points["reference_operating_point"])


def precision_recall_figure(document: Document, table: Predictions) -> "Figure":
    """Return precision against recall, with the prevalence, that of random scores."""

    def draw(axes: "Axes", column: int) -> None:
        _, labels, scores = table.known_labels(column)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        if not labels.any():
            _say_undefined(axes)
            return
        axes.plot(*precision_recall_curve(labels, scores).T, color=BLUE, linewidth=1.2)
        axes.axhline(labels.mean(), color=GRAY, linewidth=0.6, linestyle=":")
        found = document["findings"][table.findings[column]]["average_precision"]
        axes.set_title(f"  {number(found)}")

    return _panels(table.findings, draw, "recall (sensitivity)", "precision (PPV)")


def reliability_figure(document: Document) -> "Figure":
    """Return observed prevalence against mean predictions, before and after calibration."""
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
        axes.plot([0, limit], [0, limit], color=GRAY, linewidth=0.6, linestyle=":")

    names = tuple(findings)
    return _panels(names, draw, "mean prediction in bins of equal size", "observed prevalence")


def confusion_figure(document: Document) -> "Figure":
    """Return confusion matrices at the reference operating point, shares by row."""
    points = document["operating_points"]["findings"]

    def draw(axes: "Axes", column: int) -> None:
        axes.set_xticks([0, 1], ["pred. negative", "pred. positive"], fontsize=6)
        axes.set_yticks([0, 1], ["absent", "present"], fontsize=6, rotation=90, va="center")
        axes.spines[:].set_visible(False)
        point = _reference_point(document, list(points)[column])
        if not point:
            axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
            _say_undefined(axes)
            return
        counts = np.array([[point["tn"], point["fp"]], [point["fn"], point["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (i, j), share in np.ndenumerate(shares):
            text = f"{integer(int(counts[i, j]))}\n{share:.0%}"
            color = "w" if share > 0.6 else "k"
            axes.text(j, i, text, ha="center", va="center", fontsize=7, color=color)

    return _panels(tuple(points), draw, "", "")


def defined_groups(document: Document) -> list[Document]:
    """Return the subgroups that have a metric to show."""
    groups = document["subgroups"]["groups"]
    return [g for g in groups if not g["suppressed"] and any(_is_defined(g, n) for n in PANELS)]


def _is_defined(group: Document, name: str) -> bool:
    return bool(np.isfinite(group[name]["value"]))


def subgroups_figure(document: Document) -> "Figure":
    """Return macro AUROC and underdiagnosis of each group that has one of them."""
    groups = defined_groups(document)
    shown = [name for name in PANELS if any(_is_defined(group, name) for group in groups)]
    figure = new_figure(9, 1.2 + ROW * len(groups))
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for axes, name in zip(panels, shown, strict=True):
        for place, group in enumerate(groups):
            found = group[name]
            crossed = " and " in group["attribute"]
            color = GRAY if crossed else BLUE
            axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=1.2)
            axes.plot(found["value"], place, "o", color=color, markersize=3 if crossed else 4.5)
        if name == "macro_auroc":
            axes.axvline(document["macro"]["auroc"], color="black", linewidth=0.7, linestyle=":")
        axes.set_title(PANELS[name], fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(axis="x", linewidth=0.3)
        hide_frame(axes)
    units = PLURAL[document["unit"]]
    labels = [
        f"{g['group']}  ({integer(g['units'])} {units}, {g['scored_findings']})" for g in groups
    ]
    panels[0].set_yticks(range(len(groups)), labels, fontsize=7)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    return figure


def roc_curve(labels: Labels, scores: Floats) -> Floats:
    """Return 1 - specificity and sensitivity (K, 2) at every threshold, from the origin.

    Straight lines between them have the area AUROC. Both classes have to be there.
    """
    true_positives, false_positives = _counts(labels, scores)
    rates = (false_positives / false_positives[-1], true_positives / true_positives[-1])
    return thinned(np.concatenate([[[0.0, 0.0]], np.stack(rates, axis=1)]))


def precision_recall_curve(labels: Labels, scores: Floats) -> Floats:
    """Return recall and precision (K, 2) as steps, whose area is the average precision.

    A line between two thresholds would show a precision that no threshold has. The curve begins at
    the first threshold with a positive: without one, precision is undefined.
    """
    true_positives, false_positives = _counts(labels, scores)
    some = true_positives > 0
    recall = true_positives[some] / true_positives[-1]
    precision = true_positives[some] / (true_positives + false_positives)[some]
    before = np.concatenate([[0.0], recall[:-1]])
    corners = np.stack([before, precision, recall, precision], axis=1)  # up or down, then across
    return thinned(corners.reshape(-1, 2))


def _counts(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """Return true and false positives (K,) at each threshold that occurs, the highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    true_positives = np.cumsum(labels[order], dtype=np.float64)[last]
    return true_positives, last + 1 - true_positives


def thinned(curve: Floats, tolerance: float = TOLERANCE) -> Floats:
    """Return the corners (K, 2) without which a curve (N, 2) would move by more than `tolerance`.

    No point of either curve is further than that from the other. Thinning is by distance, never by
    rank: where few thresholds cover much of an axis, every one of them counts (Douglas and Peucker
    1973, "Algorithms for the reduction of the number of points required to represent a digitized
    line").
    """
    kept = np.zeros(len(curve), dtype=bool)
    kept[[0, -1]] = True
    spans = [(0, len(curve) - 1)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = distances(curve[first + 1 : last], curve[first], curve[last])
        furthest = int(np.argmax(away))
        if away[furthest] > tolerance:
            middle = first + 1 + furthest
            kept[middle] = True
            spans += [(first, middle), (middle, last)]
    return curve[kept]


def distances(points: Floats, start: Floats, end: Floats) -> Floats:
    """Return how far points (N, 2) are from the line between two others."""
    along = end - start
    length = float(along @ along)
    place = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    nearest = start + place[:, None] * along
    return np.asarray(np.hypot(*(points - nearest).T))

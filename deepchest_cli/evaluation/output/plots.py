"""The plots of an evaluation: curves, reliability diagrams, subgroups, confusion matrices."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.metrics import SMALLEST, Floats, Labels
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.units import PLURAL
from deepchest_cli.model.logistic import logit
from deepchest_cli.reporting.numbers import integer, number, significant
from deepchest_cli.reporting.panels import panel_figure, say_undefined
from deepchest_cli.reporting.plots import (
    BLUE,
    GRAY,
    ORANGE,
    PAGE,
    TITLE,
    TYPE,
    fitted,
    hide_frame,
    new_figure,
    text_width,
    ticks_apart,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 17  # points for a subgroup
PANELS = {  # of the subgroups
    "macro_auroc": "macro AUROC over the\nscored findings",
    "underdiagnosis": "underdiagnosis: predicted\nnegative for all findings",
}
TOLERANCE = 0.002  # of an axis from 0 to 1; a plot's pixel is larger
BELOW_PREVALENCE = 0.18  # of the precision axis: room for the line's name
# Ticks of precision, the finest first, and of probabilities on a scale of logits.
PRECISIONS = [
    [step * 10.0**-decade for decade in range(7, 0, -1) for step in steps] + [1.0]
    for steps in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
]
ODDS = [
    sorted({*below, 0.5, *(round(1 - one, 9) for one in below)})
    for below in (
        [step * 10.0**-decade for decade in range(1, 8) for step in (1, 2, 3)],
        [step * 10.0**-decade for decade in range(1, 8) for step in (1, 3)],
        [10.0**-decade for decade in range(1, 8)],
    )
]
MIN_SPAN = 2.0  # logits that a reliability diagram shows at least

Document = Mapping[str, Any]


def roc_figure(document: Document, table: Predictions) -> "Figure":
    """Return the ROC curves, one for each fold, with the reference operating point."""

    def draw(axes: "Axes", column: int, side: float) -> str:
        rows, labels, scores = table.known_labels(column)
        ticks = [0, 0.5, 1]
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks)
        axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, linestyle=":")
        if not 0 < labels.sum() < len(labels):
            say_undefined(axes)
            return ""
        for own in _folds(table, rows):
            if 0 < labels[own].sum() < own.sum():
                axes.plot(*roc_curve(labels[own], scores[own]).T, color=BLUE, **_line(table))
        point = _reference_point(document, table.findings[column])
        if point:
            place = (1 - point["specificity"]["value"], point["sensitivity"]["value"])
            axes.plot(*place, "o", color=ORANGE, markersize=5, markeredgecolor="black")
        return f"AUROC {number(document['findings'][table.findings[column]]['auroc'])}"

    return panel_figure(table.findings, draw, "1 − specificity", "sensitivity")


def _folds(table: Predictions, rows: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    """Return which of some images (n,) are of each fold; without folds all are of one."""
    if table.fold is None:
        return [np.ones(len(rows), dtype=bool)]
    return [table.fold[rows] == fold for fold in np.unique(table.fold)]


def _line(table: Predictions) -> dict[str, Any]:
    """Return how a curve looks: those of folds are thin, as they lie over each other."""
    return {"linewidth": 1.3} if table.fold is None else {"linewidth": 0.8, "alpha": 0.6}


def _reference_point(document: Document, finding: str) -> Any:
    points = document["operating_points"]
    return points["findings"].get(finding, {}).get(points["reference_operating_point"])


def precision_recall_figure(document: Document, table: Predictions) -> "Figure":
    """Return precision against recall of each fold, with the prevalence, that of random scores.

    Precision is on a logarithmic scale from below the prevalence to 1: equal heights above the
    line are equal multiples of the prevalence, of a finding of 0.2 % as of one of 60 %.
    """

    def draw(axes: "Axes", column: int, side: float) -> str:
        rows, labels, scores = table.known_labels(column)
        axes.set(xlim=(-0.02, 1.02), xticks=[0, 0.5, 1])
        if not labels.any():
            axes.set_yticks([])
            say_undefined(axes)
            return ""
        folds = [own for own in _folds(table, rows) if labels[own].any()]
        curves = [precision_recall_curve(labels[own], scores[own]) for own in folds]
        prevalence, lowest = float(labels.mean()), min(float(one[:, 1].min()) for one in curves)
        low = lowest_precision(prevalence, lowest)
        axes.set_yscale("log")
        axes.set_ylim(low, low**-0.02)
        axes.minorticks_off()
        ticks = ticks_apart(PRECISIONS, math.log, (math.log(low), 0.0), side, lambda _: TYPE)
        axes.set_yticks(ticks, [plain(tick) for tick in ticks])
        for curve in curves:
            axes.plot(*curve.T, color=BLUE, **_line(table))
        axes.axhline(prevalence, color="black", linewidth=1, linestyle=":")
        axes.annotate(
            f"prevalence {plain(float(significant(prevalence, 2)))}", (1, prevalence), ha="right",
            va="top", xytext=(0, -2), textcoords="offset points", fontsize=TYPE,
            bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0},
        )  # fmt: skip
        return f"AP {number(document['findings'][table.findings[column]]['average_precision'])}"

    up = "precision (PPV), logarithmic, from below the prevalence to 1"
    return panel_figure(table.findings, draw, "recall (sensitivity)", up)


def lowest_precision(prevalence: float, lowest: float) -> float:
    """Return where the precision axis begins: below prevalence and the curve's lowest value."""
    if prevalence >= 1:
        return 0.5
    return min(math.exp(math.log(prevalence) / (1 - BELOW_PREVALENCE)), lowest / 1.05)


def reliability_figure(document: Document) -> "Figure":
    """Return observed prevalence against mean predictions, before and after calibration.

    On logits, where an error of calibration looks the same for rare and frequent findings.
    """
    from matplotlib.lines import Line2D

    findings = document["calibration"]["findings"]
    looks: dict[str, dict[str, Any]] = {
        "before": {"color": ORANGE, "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
        "after": {"color": BLUE, "marker": "o", "linestyle": "-"},
    }

    def draw(axes: "Axes", column: int, side: float) -> str:
        entry = list(findings.values())[column]
        shown = {name: entry[name]["bins"] for name in looks if entry[name]}
        limits = reliability_limits([one for bins in shown.values() for one in bins])
        axes.set(xlim=limits, ylim=limits)
        axes.plot(limits, limits, color="black", linewidth=0.8, linestyle=":")
        _show_probabilities(axes, limits, side)
        for name, bins in shown.items():
            _draw_bins(axes, bins, limits, looks[name])
        counts = {len(bins) for bins in shown.values() if bins}
        if not counts:
            say_undefined(axes)
            return ""
        return f"{max(counts)} {'bin' if max(counts) == 1 else 'bins'}"

    labels = {"before": "uncalibrated", "after": "calibrated on validation"}
    legend: list[Any] = [
        Line2D([], [], markersize=5, linewidth=1, label=labels[name], **look)
        for name, look in looks.items()
        if name == "before" or any(entry["after"] for entry in findings.values())
    ]
    legend.append(Line2D([], [], color="black", linewidth=0.8, linestyle=":", label="ideal"))
    return panel_figure(
        tuple(findings), draw, "mean prediction of a bin (scale of logits)",
        "share of positives, 95 % CI (scale of logits)", legend=legend,
    )  # fmt: skip


def reliability_limits(bins: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the logits from and to which both axes of a reliability diagram reach."""
    values = [one[key] for one in bins for key in ("predicted", "observed", "low", "high")]
    inside = [value for value in values if SMALLEST < value < 1 - SMALLEST]
    if not inside:
        return -MIN_SPAN, MIN_SPAN
    low, high = logit(np.array([min(inside), max(inside)]))
    more = max(0.06 * (high - low), (MIN_SPAN - (high - low)) / 2)
    return float(low - more), float(high + more)


def _show_probabilities(axes: "Axes", limits: tuple[float, float], side: float) -> None:
    """Label axes of logits with probabilities."""
    for axis, size in (
        (axes.xaxis, lambda tick: text_width(plain(tick))),
        (axes.yaxis, lambda _: TYPE),
    ):
        ticks = ticks_apart(ODDS, lambda p: math.log(p / (1 - p)), limits, side, size)
        axis.set_ticks([math.log(p / (1 - p)) for p in ticks], [plain(tick) for tick in ticks])


def plain(probability: float) -> str:
    """Return a probability to eight decimals, without an exponent and idle zeros."""
    return f"{probability:.8f}".rstrip("0").rstrip(".")


def _draw_bins(
    axes: "Axes", bins: list[dict[str, Any]], limits: tuple[float, float], look: dict[str, Any]
) -> None:
    """Draw bins with their intervals; a share of 0 or 1, which has no logit, on the edge."""
    names = ("predicted", "observed", "low", "high")
    table = np.array([[one[name] for name in names] for one in bins]).reshape(-1, 4)
    predicted, observed, low, high = np.clip(logit(table, SMALLEST), *limits).T
    axes.vlines(predicted, low, high, color=look["color"], linewidth=0.9)
    axes.plot(predicted, observed, markersize=3.5, linewidth=0.9, clip_on=False, **look)


def confusion_figure(document: Document) -> "Figure":
    """Return confusion matrices at the reference operating point, shares by row."""
    points = document["operating_points"]["findings"]

    def draw(axes: "Axes", column: int, side: float) -> str:
        axes.set_xticks([0, 1], ["negative", "positive"])
        axes.set_yticks([0, 1], ["absent", "present"], rotation=90, va="center")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
        point = _reference_point(document, list(points)[column])
        if not point:
            say_undefined(axes)
            return ""
        counts = np.array([[point["tn"], point["fp"]], [point["fn"], point["tp"]]])
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        for (i, j), share in np.ndenumerate(shares):
            text = f"{integer(int(counts[i, j]))}\n{share:.0%}"
            color = "w" if share > 0.6 else "k"
            axes.text(j, i, text, ha="center", va="center", fontsize=TYPE, color=color)
        return ""

    return panel_figure(tuple(points), draw, "prediction", "label")


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
    figure = new_figure(90 + ROW * len(groups))
    panels = np.atleast_1d(figure.subplots(1, len(shown), sharey=True))
    for axes, name in zip(panels, shown, strict=True):
        for place, group in enumerate(groups):
            found = group[name]
            crossed = " and " in group["attribute"]
            color, inside = (GRAY, "white") if crossed else (BLUE, BLUE)
            axes.plot([found["low"], found["high"]], [place, place], color=color, linewidth=1.2)
            axes.plot(found["value"], place, "o", color=color, markersize=5, mfc=inside)
        if name == "macro_auroc":
            axes.axvline(document["macro"]["auroc"], color="black", linewidth=0.7, linestyle=":")
        axes.set_title(PANELS[name], fontsize=TITLE)
        axes.tick_params(labelsize=TYPE)
        axes.locator_params("x", nbins=5)
        axes.grid(axis="x", linewidth=0.3)
        hide_frame(axes)
    units = PLURAL[document["unit"]]
    labels = []
    for group in groups:
        counts = f"  ({integer(group['units'])} {units}, {group['scored_findings']})"
        labels.append(fitted(group["group"], 0.3 * PAGE) + counts)
    panels[0].set_yticks(range(len(groups)), labels, fontsize=TYPE)
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
    the first threshold with a positive: without one, precision is undefined. It is thinned on a
    linear and on a logarithmic scale of precision at once, so that it is true on either.
    """
    true_positives, false_positives = _counts(labels, scores)
    some = true_positives > 0
    recall = true_positives[some] / true_positives[-1]
    precision = true_positives[some] / (true_positives + false_positives)[some]
    before = np.concatenate([[0.0], recall[:-1]])
    corners = np.stack([before, precision, recall, precision], axis=1)  # up or down, then across
    curve = corners.reshape(-1, 2)
    heights = np.log(curve[:, 1:]) / min(np.log(curve[:, 1].min()), -TOLERANCE)
    return thinned(np.concatenate([curve, heights], axis=1))[:, :2]


def _counts(labels: Labels, scores: Floats) -> tuple[Floats, Floats]:
    """Return true and false positives (K,) at each threshold that occurs, the highest first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    true_positives = np.cumsum(labels[order], dtype=np.float64)[last]
    return true_positives, last + 1 - true_positives


def thinned(curve: Floats, tolerance: float = TOLERANCE) -> Floats:
    """Return the corners (K, d) without which a curve (N, d) would move by more than `tolerance`.

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
    """Return how far points (N, d) are from the line between two others."""
    along = end - start
    length = float(along @ along)
    place = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    nearest = start + place[:, None] * along
    return np.asarray(np.linalg.norm(points - nearest, axis=1))

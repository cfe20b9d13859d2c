"""The plots of a comparison: differences, findings, cost and weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.comparison.analysis.summary import NOT_TESTED, shortened, shown_verdict
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.statistics import BETTER, EQUIVALENT, LEVEL, WORSE
from deepchest_cli.reporting.labels import label_width, place_labels
from deepchest_cli.reporting.numbers import signed
from deepchest_cli.reporting.plots import (
    GRAY,
    PAGE,
    TITLE,
    TYPE,
    fitted,
    hide_frame,
    new_figure,
    text_width,
)
from deepchest_cli.reporting.weight_chart import draw_weights, weight_charts

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# color and marker
VERDICTS = {
    BETTER: ("#1a7f37", "^"),
    WORSE: ("#b3261e", "v"),
    EQUIVALENT: ("#1f5fa8", "s"),
    NOT_TESTED: (GRAY, "X"),
}
OTHER_VERDICT = (GRAY, "o")
# in points
ROW, CELL, CELL_WIDTH = 30, 20, 46  # a weighter's line; a finding's row, and at least a column
LEFT, TOP, BOTTOM = 66, 34, 40  # around the plot of costs
SMALLEST_LIMIT = 0.001  # of a color scale of differences

Results = Mapping[str, Any]
Traces = Mapping[str, Mapping[str, Floats]]  # label to finding to weights over epochs (E,)


def compared(results: Results) -> dict[str, Any]:
    """Return the weighters that have differences to the baseline, the best first."""
    found = {name: e for name, e in results["weighters"].items() if e["differences"]}
    return dict(sorted(found.items(), key=lambda item: -_difference(item[1])["estimate"]))


def _difference(entry: Mapping[str, Any]) -> Any:
    return entry["differences"]["macro_auroc"]


def forest_figure(results: Results) -> "Figure":
    """Return each weighter's difference to the baseline: interval, margin and single seeds.

    Of several data sets, the mean over them is followed by each.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    baseline = results["weighters"][results["design"]["baseline"]]
    lines = []
    for label, entry in compared(results).items():
        lines.append((shortened(label), entry, baseline))
        lines += [
            (f"on {name}", one, baseline["data_sets"][name])
            for name, one in entry["data_sets"].items()
        ]
    figure = new_figure(100 + ROW * len(lines))
    axes = figure.add_subplot()
    margin = results["design"]["margin"]
    axes.axvspan(-margin, margin, color="0.92", zorder=0)
    axes.axvline(0, color="black", linewidth=0.8)
    for place, (_, entry, other) in enumerate(lines):
        row = _difference(entry)
        is_single = other is not baseline
        color, marker = VERDICTS.get(shown_verdict(row), OTHER_VERDICT)
        if row["low"] is not None:
            width = 1 if is_single else 2
            axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=width)
        axes.plot(row["estimate"], place, marker, color=color, markersize=5 if is_single else 8)
        ours, theirs = (one["metrics"]["macro_auroc"]["by_seed"] for one in (entry, other))
        seeds = np.array(ours) - np.array(theirs)
        axes.plot(seeds, np.full(len(seeds), place + 0.22), "|", color=color, markersize=6)
    axes.set_yticks(range(len(lines)), [fitted(name, PAGE / 3) for name, *_ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)  # the best above; room for markers, also of one line
    axes.tick_params(labelsize=TYPE)
    axes.set_xlabel("difference in macro AUROC to equal weighting", fontsize=TITLE)
    hide_frame(axes)
    others = [
        Line2D([], [], color=GRAY, linestyle="", marker="|", markersize=6, label="single seeds"),
        Patch(color="0.92", label=f"margin of {margin:g}"),
    ]
    _explain_verdicts(figure, [shown_verdict(_difference(entry)) for _, entry, _ in lines], others)
    return figure


def _explain_verdicts(
    figure: "Figure", verdicts: Sequence[str], others: Sequence["Artist"] = ()
) -> None:
    """Say above the plot which marker each verdict has, and what else is drawn."""
    from matplotlib.lines import Line2D

    looks = {verdict: VERDICTS.get(verdict, OTHER_VERDICT) for verdict in verdicts}
    handles: list[Artist] = [
        Line2D([], [], color=color, linestyle="", markersize=7, marker=marker, label=verdict)
        for verdict, (color, marker) in looks.items()
    ]
    handles += others
    figure.legend(
        handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, fontsize=TYPE
    )


def findings_figure(results: Results) -> "Figure":
    """Return each finding's difference in AUROC to the baseline as a heat map.

    Weighters that do not fit beside each other are continued below.
    """
    entries, findings = compared(results), list(results["data"]["findings"])
    rows = [[e["finding_differences"][f]["auroc"] for f in findings] for e in entries.values()]
    table = np.array([[cell["estimate"] for cell in row] for row in rows], dtype=float).T
    names = [fitted(shortened(label), PAGE / 4) for label in entries]
    positives = [of["positives"] for of in results["data"]["findings"].values()]
    labels = [f"{fitted(f, PAGE / 3)} ({of})" for f, of in zip(findings, positives, strict=True)]
    across = max(1, int((PAGE - max(map(text_width, labels)) - 30) / CELL_WIDTH))
    blocks = [range(len(names))[first : first + across] for first in range(0, len(names), across)]
    under = 0.75 * max(map(text_width, names)) + 24  # points, of slanted names
    figure = new_figure(len(blocks) * (CELL * len(findings) + under) + 60)
    finite = np.abs(table[np.isfinite(table)])
    limit = max(finite.max() if len(finite) else 0, SMALLEST_LIMIT)
    every = figure.subplots(len(blocks), squeeze=False)[:, 0]
    for axes, block in zip(every, blocks, strict=True):
        shown = np.full((len(findings), min(across, len(names))), np.nan)
        shown[:, : len(block)] = table[:, block]
        image = axes.imshow(shown, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (i, j), value in np.ndenumerate(table[:, block]):
            p_holm = rows[block[j]][i]["p_holm"]
            text = signed(value) + ("*" if p_holm is not None and p_holm < LEVEL else "")
            dark = np.isfinite(value) and abs(value) > 0.6 * limit
            color = "w" if dark else "k"
            axes.text(j, i, text, ha="center", va="center", fontsize=TYPE, color=color)
        axes.set_xticks(
            range(len(block)), [names[j] for j in block], rotation=40, ha="right",
            rotation_mode="anchor",
        )  # fmt: skip
        axes.set_yticks(range(len(findings)), labels)
        axes.tick_params(labelsize=TYPE)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=every, location="top", aspect=50, fraction=0.02)
    bar.set_label("difference in AUROC to equal weighting", fontsize=TITLE)
    bar.set_ticks([-limit, 0, limit], labels=[signed(-limit), "0", signed(limit)])
    bar.ax.tick_params(labelsize=TYPE)
    return figure


def cost_figure(results: Results) -> "Figure":
    """Return the difference to the baseline against how long a step takes."""
    found = [
        (fitted(shortened(label), PAGE / 3), _difference(entry), results["costs"][label])
        for label, entry in compared(results).items()
        if results["costs"].get(label)
    ]
    height = max(300, 14 * len(found) + TOP + BOTTOM)
    figure = new_figure(height, layout=None)
    room = max((label_width([name]) for name, *_ in found), default=0) + 6
    box = (LEFT, BOTTOM, PAGE - LEFT - room, height - TOP - BOTTOM)
    axes = figure.add_axes((box[0] / PAGE, box[1] / height, box[2] / PAGE, box[3] / height))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    samples = []
    for _, row, cost in found:
        error = None if row["low"] is None else [[row["estimate"] - row["low"]]] * 2
        color, marker = VERDICTS.get(shown_verdict(row), OTHER_VERDICT)
        axes.errorbar(
            cost["ratio"],
            row["estimate"],
            xerr=[[cost["ratio"] - cost["ratio_low"]], [cost["ratio_high"] - cost["ratio"]]],
            yerr=error,
            fmt=marker,
            color=color,
            elinewidth=0.8,
        )
        samples.append({"color": color, "marker": marker, "linestyle": ""})
    axes.set_xlabel("step time relative to equal weighting", fontsize=TITLE)
    axes.set_ylabel("difference in macro AUROC to equal", fontsize=TITLE)
    axes.tick_params(labelsize=TYPE)
    hide_frame(axes)
    _explain_verdicts(figure, [shown_verdict(row) for _, row, _ in found])
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # so that points have their places
    ends = [(cost["ratio"], row["estimate"]) for _, row, cost in found]
    place_labels(axes, ends, [[name] for name, *_ in found], samples)
    return figure


def weights_figure(traces: Traces) -> "Figure":
    """Return each weighter's weights over the epochs, mean over seeds, a chart each."""
    return draw_weights(list(map(shortened, traces)), weight_charts(list(traces.values())))

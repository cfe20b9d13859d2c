"""The plots of a comparison: differences, findings, cost and weights."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepchest_cli.comparison.analysis.summary import shortened
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.evaluation.statistics import BETTER, EQUIVALENT, LEVEL, WORSE
from deepchest_cli.reporting.numbers import signed
from deepchest_cli.reporting.plots import COLORS, GRAY, hide_frame, needs_log_scale, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_COLORS = {BETTER: "#1a7f37", WORSE: "#b3261e", EQUIVALENT: "#1f5fa8"}  # GRAY for all others
ROW = 0.42  # inches for a weighter's line
WIDTH = 7.5
PANELS = 3  # of weights beside each other
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
    baseline = results["weighters"][results["design"]["baseline"]]
    lines = []
    for label, entry in compared(results).items():
        lines.append((shortened(label), entry, baseline))
        lines += [
            (f"on {name}", one, baseline["data_sets"][name])
            for name, one in entry["data_sets"].items()
        ]
    figure = new_figure(WIDTH, 1.1 + ROW * len(lines))
    axes = figure.add_subplot()
    margin = results["design"]["margin"]
    axes.axvspan(-margin, margin, color="0.92", zorder=0)
    axes.axvline(0, color="black", linewidth=0.8)
    for place, (_, entry, other) in enumerate(lines):
        row = _difference(entry)
        is_single = other is not baseline
        color = VERDICT_COLORS.get(row["verdict"], GRAY)
        if row["low"] is not None:
            width = 1 if is_single else 2
            axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=width)
        axes.plot(row["estimate"], place, "o", color=color, markersize=4 if is_single else 7)
        ours, theirs = (one["metrics"]["macro_auroc"]["by_seed"] for one in (entry, other))
        seeds = np.array(ours) - np.array(theirs)
        axes.plot(seeds, np.full(len(seeds), place + 0.22), "|", color=color, markersize=6)
    axes.set_yticks(range(len(lines)), [name for name, *_ in lines])
    axes.invert_yaxis()
    axes.set_xlabel("difference in macro AUROC to equal weighting")
    hide_frame(axes)
    return figure


def findings_figure(results: Results) -> "Figure":
    """Return each finding's difference in AUROC to the baseline as a heat map."""
    entries, findings = compared(results), list(results["data"]["findings"])
    rows = [[e["finding_differences"][f]["auroc"] for f in findings] for e in entries.values()]
    table = np.array([[cell["estimate"] for cell in row] for row in rows], dtype=float).T
    figure = new_figure(max(WIDTH, 3 + 0.75 * len(entries)), 1.6 + 0.33 * len(findings))
    axes = figure.add_subplot()
    finite = np.abs(table[np.isfinite(table)])
    limit = max(finite.max() if len(finite) else 0, SMALLEST_LIMIT)
    image = axes.imshow(table, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        p_holm = rows[j][i]["p_holm"]
        significant = p_holm is not None and p_holm < LEVEL
        text = signed(value) + ("*" if significant else "")
        dark = np.isfinite(value) and abs(value) > 0.6 * limit
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="w" if dark else "k")
    axes.set_xticks(range(len(entries)), list(map(shortened, entries)), rotation=40, ha="right")
    labels = [f"{f} ({of['positives']})" for f, of in results["data"]["findings"].items()]
    axes.set_yticks(range(len(findings)), labels)
    figure.colorbar(image, label="difference in AUROC to equal weighting")
    return figure


def cost_figure(results: Results) -> "Figure":
    """Return the difference to the baseline against how long a step takes."""
    figure = new_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    axes.axhline(0, color="black", linewidth=0.8)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    for label, entry in compared(results).items():
        row, cost = _difference(entry), results["costs"].get(label)
        if cost is None:
            continue
        error = None if row["low"] is None else [[row["estimate"] - row["low"]]] * 2
        axes.errorbar(
            cost["ratio"],
            row["estimate"],
            xerr=[[cost["ratio"] - cost["ratio_low"]], [cost["ratio_high"] - cost["ratio"]]],
            yerr=error,
            fmt="o",
            color=VERDICT_COLORS.get(row["verdict"], GRAY),
            elinewidth=0.8,
        )
        axes.annotate(
            shortened(label), (cost["ratio"], row["estimate"]), xytext=(6, 5),
            textcoords="offset points", fontsize=8,
        )  # fmt: skip
    axes.set_xlabel("step time relative to equal weighting")
    axes.set_ylabel("difference in macro AUROC to equal")
    hide_frame(axes)
    return figure


def weights_figure(traces: Traces) -> "Figure":
    """Return each weighter's weights over the epochs, mean over seeds, a panel each."""
    from matplotlib.ticker import MaxNLocator

    rows = -(-len(traces) // PANELS)
    figure = new_figure(WIDTH, 0.9 + 2.3 * rows)
    grid = figure.subplots(rows, PANELS, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, (label, columns) in zip(grid.flat, traces.items(), strict=False):
        axes.set_visible(True)
        for i, (finding, values) in enumerate(columns.items()):
            epochs = np.arange(1, len(values) + 1)
            style = "-" if i < len(COLORS) else "--"
            axes.plot(epochs, values, style, color=COLORS[i % len(COLORS)], label=finding)
        weights = np.concatenate(list(columns.values()))
        if needs_log_scale(weights[np.isfinite(weights)]):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_title(shortened(label), fontsize=9)
        axes.tick_params(labelsize=7, which="both")
        axes.set_xlabel("epoch", fontsize=7)
        hide_frame(axes)
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return figure

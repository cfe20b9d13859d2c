"""The plots of a run: loss, AUROC and task weights over the epochs."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepchest_cli.evaluation.metrics import macro
from deepchest_cli.files import atomic_write
from deepchest_cli.reporting.line_chart import (
    Floats,
    Line,
    colored,
    draw_chart,
    new_chart_figure,
)
from deepchest_cli.reporting.plots import COLORS, GRAY, TYPE, Draw
from deepchest_cli.reporting.weight_chart import draw_weights, weight_charts
from deepchest_cli.training.run_files import ALL, METRICS, SOURCE, WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, AUROC = "validation_loss", "validation_auroc"

Columns = dict[str, Floats]


def draw_run(folder: Path) -> list[Path]:
    """Draw the tables of a run into its folder; return the paths of the plots."""
    figures = run_figures(folder)
    for name, draw in figures.items():
        with atomic_write(folder / f"{name}.png") as temporary:
            draw().savefig(temporary, format="png", dpi="figure")
    return [folder / f"{name}.png" for name in figures]


def run_figures(folder: Path) -> dict[str, Draw]:
    """Return what draws the charts of a run, by their names, which are among `CHARTS`.

    There are sources where there are several data sets, and weights where the weighter has some;
    none before the first epoch has ended.
    """
    sources, weights = read_sources(folder / METRICS), read_columns(folder / WEIGHTS)
    figures: dict[str, Draw] = {}
    if sources:
        figures["metrics"] = lambda: metrics_figure(sources[ALL], len(sources) > 1)
    if len(sources) > 1:
        figures["sources"] = lambda: sources_figure(sources)
    if weights:
        figures["weights"] = lambda: weights_figure(
            weights, [name for name in sources if name != ALL]
        )
    return figures


def read_columns(path: Path) -> Columns:
    """Return the columns of a table of numbers, NaN for empty cells; none without rows.

    Of a table with a column `source` they are those of all data sets together.
    """
    return read_sources(path).get(ALL, {})


def read_sources(path: Path) -> dict[str, Columns]:
    """Return the columns of each data set, by the column `source`; without it all are `all`."""
    if not path.exists():
        return {}
    rows: dict[str, list[dict[str, str]]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row.pop(SOURCE, ALL), []).append(row)
    return {
        source: {name: np.array([float(row[name] or "nan") for row in own]) for name in own[0]}
        for source, own in rows.items()
    }


def metrics_figure(columns: Columns, several: bool = False) -> "Figure":
    """Return the macro loss above the AUROC of every finding, with the kept epoch marked.

    several: data sets, whose images are together here, while the best epoch is that of their mean.
    """
    epochs = columns["epoch"]
    losses = [
        Line("training", columns["training_loss"], COLORS[0], "--", "o"),
        Line("validation", columns[LOSS], COLORS[1], "-", "s"),
    ]
    prefix = f"{AUROC}/"
    findings = {n.removeprefix(prefix): v for n, v in columns.items() if n.startswith(prefix)}
    scores = [*colored(findings), Line("mean", columns[AUROC], "black", bold=True)]
    figure, (above, below) = new_chart_figure([losses, scores], side_by_side=False)
    title = f"Validation AUROC{' of all images together' if several else ''}"
    first = draw_chart(figure, above, "Loss, mean over findings", epochs, losses)
    second = draw_chart(figure, below, title, epochs, scores)
    _mark_best((first, second), columns)
    return figure


def sources_figure(sources: dict[str, Columns]) -> "Figure":
    """Return macro loss and macro AUROC of each data set, beside their mean and all images."""
    together = sources[ALL]
    each = {name: columns for name, columns in sources.items() if name != ALL}
    charts = []
    for name in (LOSS, AUROC):
        lines = colored({source: columns[name] for source, columns in each.items()})
        lines += [
            Line("all images", together[name], GRAY, "--", "x"),
            Line("mean of data sets", _mean([line.values for line in lines]), "black", bold=True),
        ]
        charts.append(lines)
    figure, boxes = new_chart_figure(charts)
    axes = [
        draw_chart(figure, box, f"Validation {title}, mean over findings", together["epoch"], lines)
        for box, title, lines in zip(boxes, ("loss", "AUROC"), charts, strict=True)
    ]
    _mark_best(axes, together)
    return figure


def _mean(lines: Sequence[Floats]) -> Floats:
    """Return the mean of lines (E,) at each epoch, over those that are defined there."""
    return np.array([macro(values) for values in np.stack(lines, axis=1)])


def _mark_best(charts: Sequence["Axes"], columns: Columns) -> None:
    best = columns["epoch"][columns["best"] == 1]
    if len(best):  # each was the best of its time
        for axes in charts:
            _mark(axes, best[-1])


def _mark(axes: "Axes", best: float) -> None:
    axes.axvline(best, color="0.35", linewidth=1.2, linestyle=(0, (5, 4)), zorder=2)
    axes.annotate(
        f"kept: epoch {best:.0f}",
        (best, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        horizontalalignment="center",
        fontsize=TYPE,
        color="0.35",
    )


def weights_figure(columns: Columns, sources: Sequence[str] = ()) -> "Figure":
    """Return the weight of every task over the epochs, with a thin line at one.

    sources: names of data sets; where each task is of one of them, each has a chart of its own.
    """
    weights = {name: values for name, values in columns.items() if name != "epoch"}
    charts = _by_source(weights, sources) or {"": weights}
    titles = [f"Task weights{source and f' of {source}'}" for source in charts]
    return draw_weights(
        titles, weight_charts(list(charts.values()), one_scale=True), columns["epoch"]
    )


def _by_source(weights: Columns, sources: Sequence[str]) -> dict[str, Columns]:
    """Return the weights of each data set by finding; none where tasks are findings."""
    own: dict[str, Columns] = {source: {} for source in sources}
    for source, columns in own.items():
        ending = f" ({source})"
        columns |= {n.removesuffix(ending): w for n, w in weights.items() if n.endswith(ending)}
    return own if sum(map(len, own.values())) == len(weights) else {}

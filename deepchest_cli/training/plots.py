"""The plots of a run: loss, AUROC and task weights over the epochs."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepchest_cli.files import atomic_write
from deepchest_cli.reporting.line_chart import (
    TYPE,
    WIDTH,
    Floats,
    Line,
    colored,
    draw_chart,
    new_chart_figure,
)
from deepchest_cli.reporting.plots import COLORS, needs_log_scale
from deepchest_cli.training.run_directory import METRICS, WEIGHTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS_PLOT, WEIGHTS_PLOT = "metrics.png", "weights.png"
AUROC = "validation_auroc"

Columns = dict[str, Floats]


def draw_run(folder: Path) -> list[Path]:
    """Draw metrics.png and, where the weighter has weights, weights.png into a run's folder.

    Returns the paths of the plots: none before the first epoch has ended.
    """
    paths = []
    plots = ((METRICS, METRICS_PLOT, metrics_figure), (WEIGHTS, WEIGHTS_PLOT, weights_figure))
    for table, plot, draw in plots:
        columns = read_columns(folder / table)
        if columns:
            with atomic_write(folder / plot) as temporary:
                draw(columns).savefig(temporary, format="png", dpi="figure")
            paths.append(folder / plot)
    return paths


def read_columns(path: Path) -> Columns:
    """Return the columns of a table of numbers, NaN for empty cells; none without rows."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def metrics_figure(columns: Columns) -> "Figure":
    """Return the macro loss beside the AUROC of every finding, with the best epoch marked."""
    epochs = columns["epoch"]
    losses = [
        Line("training", columns["training_loss"], COLORS[0]),
        Line("validation", columns["validation_loss"], COLORS[1]),
    ]
    prefix = f"{AUROC}/"
    findings = {n.removeprefix(prefix): v for n, v in columns.items() if n.startswith(prefix)}
    scores = [*colored(findings), Line("mean", columns[AUROC], "black", bold=True)]
    figure = new_chart_figure(len(scores))
    middle = 0.42 * WIDTH
    left = draw_chart(figure, (0, middle), "Loss, mean over findings", epochs, losses)
    right = draw_chart(figure, (middle, WIDTH), "Validation AUROC", epochs, scores)
    best = epochs[columns["best"] == 1]
    if len(best):  # each was the best of its time
        for axes in (left, right):
            _mark(axes, best[-1])
    return figure


def _mark(axes: "Axes", best: float) -> None:
    axes.axvline(best, color="0.35", linewidth=1.2, linestyle=(0, (5, 4)), zorder=2)
    axes.annotate(
        f"best: epoch {best:.0f}",
        (best, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 4),
        textcoords="offset points",
        horizontalalignment="center",
        fontsize=TYPE,
        color="0.35",
    )


def weights_figure(columns: Columns) -> "Figure":
    """Return the weight of every finding over the epochs, with a thin line at one."""
    lines = colored({name: values for name, values in columns.items() if name != "epoch"})
    figure = new_chart_figure(len(lines))
    weights = np.concatenate([line.values for line in lines])
    draw_chart(
        figure,
        (0, WIDTH),
        "Task weights (equal weights side by side)",
        columns["epoch"],
        lines,
        level=1.0,
        logarithmic=needs_log_scale(weights[np.isfinite(weights)]),
        side_by_side=True,
    )
    return figure

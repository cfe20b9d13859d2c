"""Charts of task weights over epochs, of a run and of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from deepchest_cli.reporting.line_chart import (
    Floats,
    Line,
    colored,
    draw_chart,
    line_width_in,
    merged,
    new_chart_figure,
)
from deepchest_cli.reporting.plots import needs_log_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SHOWN = (0.95, 1.05)  # weights that every chart reaches: differences far below them do not matter


@dataclass(frozen=True)
class WeightChart:
    """The lines of a chart, those that never part merged, and the weights that its axis shows."""

    lines: list[Line]
    scale: Floats
    logarithmic: bool


def weight_charts(
    tables: Sequence[Mapping[str, Floats]], *, one_scale: bool = False
) -> list[WeightChart]:
    """Return a chart for each table of weights (E,) by finding; a finding looks the same in all.

    one_scale: the axes of all charts are alike.
    """
    findings = dict.fromkeys(name for table in tables for name in table)
    looks = {line.name: line for line in colored(dict.fromkeys(findings, np.empty(0)))}
    every = _defined([values for table in tables for values in table.values()])
    charts = []
    for table in tables:
        scale = every if one_scale else _defined(list(table.values()))
        log = needs_log_scale(scale)
        lines = [replace(looks[name], values=values) for name, values in table.items()]
        tolerance = line_width_in(scale, log)
        charts.append(WeightChart(merged(lines, tolerance, logarithmic=log), scale, log))
    return charts


def _defined(weights: Sequence[Floats]) -> Floats:
    """Return the defined ones, and those that every chart shows."""
    every = np.concatenate(weights)
    return np.concatenate([every[np.isfinite(every)], SHOWN])


def draw_weights(
    titles: Sequence[str], charts: Sequence[WeightChart], epochs: Floats | None = None
) -> "Figure":
    """Return a figure of charts of weights, with a thin line at one; epochs: 1, 2, ... if None."""
    figure, boxes = new_chart_figure([chart.lines for chart in charts])
    for title, chart, box in zip(titles, charts, boxes, strict=True):
        over = np.arange(1.0, len(chart.lines[0].values) + 1) if epochs is None else epochs
        draw_chart(
            figure,
            box,
            title,
            over,
            chart.lines,
            level=1.0,
            scale=chart.scale,
            logarithmic=chart.logarithmic,
        )
    return figure

"""Charts of lines over epochs, each line labeled at its end instead of in a legend.

Lines differ in color, dashes and markers, and a sample of each stands before its label, so that
they are told apart without color. Lines that never part have one label.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.reporting.labels import LEADING, label_width, place_labels
from deepchest_cli.reporting.plots import (
    COLORS,
    DPI,
    LINE_STYLES,
    MARKERS,
    PAGE,
    POINTS,
    TITLE,
    TYPE,
    fitted,
    hide_frame,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # left, bottom, right and top, in points

# Lengths are in points.
LEFT, TOP, BOTTOM, EDGE = 42.0, 46.0, 36.0, 6.0  # room around a chart; EDGE: right of its labels
MIN_HEIGHT = 150.0  # of a chart's axes
LINE, POINT = 1.4, 4.5  # widths of a line and of a marker
MARKS = 6  # markers on a line
NARROW = 135.0  # labels of at most this width leave room for two charts beside each other
MAX_NAME_WIDTH = 200.0  # of a label's name


@dataclass(frozen=True)
class Line:
    """A named line; its values (E,) are NaN at epochs where they are undefined."""

    name: str
    values: Floats
    color: str
    style: str = "-"
    marker: str = ""
    bold: bool = False
    merged: tuple[str, ...] = ()  # the names of lines that this one stands for

    @property
    def end(self) -> int | None:
        """The place of the last defined value."""
        defined = np.flatnonzero(np.isfinite(self.values))
        return int(defined[-1]) if len(defined) else None

    @property
    def label(self) -> list[str]:
        """The name, shortened if need be, and the last defined value; then what is merged."""
        value = "–" if self.end is None else f"{self.values[self.end]:#.3g}"
        return [f"{fitted(self.name, MAX_NAME_WIDTH)} {value}", *_filled(self.merged)]


def _filled(names: Sequence[str]) -> list[str]:
    """Return names in lines, as many in each as fit."""
    lines: list[str] = []
    for place, name in enumerate(names):
        word = fitted(name, MAX_NAME_WIDTH - 10) + ("," if place < len(names) - 1 else "")
        longer = f"{lines[-1]} {word}" if lines else ""
        if lines and fitted(longer, MAX_NAME_WIDTH) == longer:
            lines[-1] = longer
        else:
            lines.append(f"  {word}")
    return lines


def colored(columns: dict[str, Floats]) -> list[Line]:
    """Return a line a column, each with a color, dashes and marker of its own.

    Dashes and marker are enough to tell 56 lines apart: after 28 their pairs would come again, and
    markers move on by one.
    """
    return [
        Line(
            name,
            values,
            COLORS[i % len(COLORS)],
            LINE_STYLES[i % len(LINE_STYLES)],
            MARKERS[(i + i // 28) % len(MARKERS)],
        )
        for i, (name, values) in enumerate(columns.items())
    ]


def merged(lines: Sequence[Line], tolerance: float, *, logarithmic: bool = False) -> list[Line]:
    """Return the lines, one for those that are within `tolerance` of each other at all epochs.

    Such lines would hide each other. The first of them stands for all. `logarithmic`: the tolerance
    is of the logarithms.
    """
    heights = [np.log(line.values) if logarithmic else line.values for line in lines]
    groups: list[list[int]] = []
    for place, height in enumerate(heights):
        for group in groups:
            apart = np.abs(heights[group[0]] - height)
            alike = np.isfinite(heights[group[0]]) == np.isfinite(height)
            if alike.all() and not (apart > tolerance).any():
                group.append(place)
                break
        else:
            groups.append([place])
    return [_merged([lines[place] for place in group], len(lines)) for group in groups]


def _merged(group: Sequence[Line], every: int) -> Line:
    if len(group) == 1:
        return group[0]
    if len(group) == every:
        return replace(group[0], name=f"all {every} findings")
    return replace(
        group[0], name=f"{len(group)} findings", merged=tuple(line.name for line in group)
    )


def new_chart_figure(
    charts: Sequence[Sequence[Line]], *, side_by_side: bool = True
) -> tuple["Figure", list[Box]]:
    """Return an empty figure for charts of these lines, and the room that each has.

    Charts stand below each other, or in two columns where their labels are short enough and
    `side_by_side` lets them.
    """
    widest = max(label_width(line.label) for lines in charts for line in lines)
    columns = 2 if side_by_side and len(charts) > 1 and widest <= NARROW else 1
    needed = [
        TOP + BOTTOM + max(MIN_HEIGHT, LEADING * sum(len(line.label) for line in lines))
        for lines in charts
    ]
    rows = [max(needed[first : first + columns]) for first in range(0, len(charts), columns)]
    tops, width = np.sum(rows) - np.cumsum([0, *rows]), PAGE / columns
    boxes = []
    for place in range(len(charts)):
        row, column = divmod(place, columns)
        boxes.append((column * width, tops[row + 1], (column + 1) * width, tops[row]))
    return new_figure(float(np.sum(rows)), layout=None), boxes


def draw_chart(
    figure: "Figure",
    box: Box,
    title: str,
    epochs: Floats,
    lines: Sequence[Line],
    *,
    level: float | None = None,
    scale: Floats | None = None,
    logarithmic: bool = False,
) -> "Axes":
    """Draw lines over epochs (E,) and their labels into a box of the figure.

    A `level` is marked by a thin line; `scale` has values that the axis shows too.
    """
    room = max(label_width(line.label) for line in lines) + EDGE
    left, bottom, right, top = box[0] + LEFT, box[1] + BOTTOM, box[2] - room, box[3] - TOP
    whole, height = figure.get_size_inches() * POINTS
    axes = figure.add_axes(
        (left / whole, bottom / height, (right - left) / whole, (top - bottom) / height)
    )
    shown = [line.values for line in lines]
    if scale is not None:
        shown.append(scale)
    if level is not None:
        shown.append(np.array([level]))
    _scale(axes, title, epochs, shown, logarithmic)
    if level is not None:
        axes.axhline(level, color="black", linewidth=0.8, zorder=1)
    ends = []
    for number, line in enumerate(lines):
        _plot(axes, epochs, line, number)
        ends.append(None if line.end is None else (epochs[line.end], line.values[line.end]))
    place_labels(axes, ends, [line.label for line in lines], [_look(line) for line in lines])
    return axes


def _scale(axes: "Axes", title: str, epochs: Floats, values: Sequence[Floats], log: bool) -> None:
    """Set limits, ticks and type, so that points are known before anything is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    width = float(axes.bbox.width) * POINTS / DPI
    axes.set_title(fitted(title, width, TITLE), loc="left", fontsize=TITLE, pad=18)
    axes.set_xlabel("epoch", fontsize=TYPE)
    axes.tick_params(labelsize=TYPE)
    hide_frame(axes)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(*_limits(np.concatenate(values), log))
    margin = 0.02 * (epochs[-1] - epochs[0])
    axes.set_xlim(epochs[0] - min(margin or 0.5, 0.5), epochs[-1] + (margin or 0.1))
    axes.xaxis.set_major_locator(
        MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )


def _limits(values: Floats, log: bool) -> tuple[float, float]:
    """Return limits with a margin, also around values that are all the same or undefined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return 0.0, 1.0
    low, high = float(defined.min()), float(defined.max())
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def line_width_in(values: Floats, logarithmic: bool) -> float:
    """Return how far a line's width reaches on a chart that shows these values.

    Of a logarithmic one it is in natural logarithms.
    """
    low, high = _limits(values, logarithmic)
    span = np.log(high / low) if logarithmic else high - low
    return float(LINE / MIN_HEIGHT * span)


def _plot(axes: "Axes", epochs: Floats, line: Line, number: int) -> None:
    axes.plot(
        epochs,
        line.values,
        **{**_look(line), "marker": line.marker or "o"},
        markevery=_marked(line, number),
        zorder=4 if line.bold else 3,
        clip_on=False,
    )


def _marked(line: Line, number: int) -> list[int]:
    """Return the places with a marker: a few along the line, of each line at others.

    So have values without defined neighbors, which no line passes through.
    """
    defined = np.pad(np.isfinite(line.values), 1)
    marked = defined[1:-1] & ~defined[:-2] & ~defined[2:]
    if line.marker:
        step = max(1, len(line.values) // MARKS)
        marked[number % step :: step] |= defined[1:-1][number % step :: step]
    return np.flatnonzero(marked).tolist()


def _look(line: Line) -> dict[str, Any]:
    """Return how a line, and the sample of it before its label, is drawn."""
    return {
        "color": line.color,
        "linestyle": line.style,
        "linewidth": 2 * LINE if line.bold else LINE,
        "marker": line.marker,
        "markersize": POINT,
    }

"""Charts of lines over epochs, each line labeled at its end instead of in a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.reporting.plots import COLORS, hide_frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Floats = NDArray[np.float64]

# Lengths are in pixels and sizes of type in points, of which a pixel has 0.72.
WIDTH, HEIGHT, DPI = 1600, 800, 100
LABEL_HEIGHT = 22  # of one line of type
LEFT, TOP, BOTTOM, EDGE = 80, 80, 70, 14  # room around a chart; EDGE: right of its labels
LEADER = 34  # between a chart and its labels
TYPE, TITLE_TYPE = 12, 15
LINE, POINT = 1.8, 6.0  # widths of a line, and of a point without neighbors
LONGEST_NAME = 28

STYLES = ("-", "--", ":", "-.")  # one after the other, when all colors are used


@dataclass(frozen=True)
class Line:
    """A named line; its values (E,) are NaN at epochs where they are undefined."""

    name: str
    values: Floats
    color: str
    style: str = "-"
    bold: bool = False

    @property
    def end(self) -> int | None:
        """The place of the last defined value."""
        defined = np.flatnonzero(np.isfinite(self.values))
        return int(defined[-1]) if len(defined) else None

    @property
    def label(self) -> str:
        """The name, shortened if need be, and the last defined value."""
        name = self.name
        if len(name) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME - 1]}…"
        return f"{name} –" if self.end is None else f"{name} {self.values[self.end]:#.3g}"


def colored(columns: dict[str, Floats]) -> list[Line]:
    """Return a line a column, each in a color and style of its own."""
    return [
        Line(name, values, COLORS[i % len(COLORS)], STYLES[i // len(COLORS) % len(STYLES)])
        for i, (name, values) in enumerate(columns.items())
    ]


def new_chart_figure(labels: int, charts: int = 1) -> "Figure":
    """Return an empty figure for charts side by side with so many labels above each other."""
    height = max(HEIGHT, TOP + BOTTOM + labels * LABEL_HEIGHT)
    width = max(WIDTH, charts * WIDTH // 2)
    return new_figure(width / DPI, height / DPI, DPI, layout=None)


def draw_chart(
    figure: "Figure",
    span: tuple[float, float],
    title: str,
    epochs: Floats,
    lines: Sequence[Line],
    *,
    level: float | None = None,
    scale: Floats | None = None,
    logarithmic: bool = False,
    side_by_side: bool = False,
) -> "Axes":
    """Draw lines over epochs (E,) and their labels between two horizontal places of a figure.

    A `level` is marked by a thin line; `scale` has values that the axis shows too. `side_by_side`
    moves lines that would hide each other apart by their own width.
    """
    texts = [_text_of(figure, line) for line in lines]
    room = max(text.get_window_extent().width for text in texts) + LEADER + EDGE
    left, (whole, height) = span[0] + LEFT, figure.bbox.size
    width = span[1] - room - left
    axes = figure.add_axes(
        (left / whole, BOTTOM / height, width / whole, 1 - (TOP + BOTTOM) / height)
    )
    shown = [line.values for line in lines]
    if scale is not None:
        shown.append(scale)
    if level is not None:
        shown.append(np.array([level]))
    _scale(axes, title, epochs, shown, logarithmic)
    if level is not None:
        axes.axhline(level, color="black", linewidth=0.8, zorder=1)
    thickness = (LINE if len(epochs) > 1 else POINT) * DPI / 72
    drawn = _heights(axes, lines, thickness + 0.5 if side_by_side else 0)
    _plot(axes, epochs, lines, drawn)
    _label(axes, epochs, lines, drawn, texts)
    return axes


def _text_of(figure: "Figure", line: Line) -> "Text":
    from matplotlib.transforms import IdentityTransform

    return figure.text(
        0,
        0,
        line.label,
        color=line.color,
        fontsize=TYPE,
        fontweight="bold" if line.bold else "normal",
        verticalalignment="center",
        transform=IdentityTransform(),
        parse_math=False,  # a name may have a dollar sign
    )


def _scale(axes: "Axes", title: str, epochs: Floats, values: Sequence[Floats], log: bool) -> None:
    """Set limits, ticks and type, so that pixels are known before anything is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_title(title, loc="left", fontsize=TITLE_TYPE, pad=30)
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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


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


def _heights(axes: "Axes", lines: Sequence[Line], distance: float) -> Floats:
    """Return where the lines run, in pixels (L, E), at least `distance` apart at every epoch."""
    values = np.stack([line.values for line in lines])
    points = np.stack([np.zeros(values.size), values.ravel()], axis=1)
    heights = np.asarray(axes.transData.transform(points))[:, 1].reshape(values.shape)
    for column in heights.T:
        defined = np.isfinite(column)
        column[defined] = spread(column[defined], distance)
    return heights


def _plot(axes: "Axes", epochs: Floats, lines: Sequence[Line], heights: Floats) -> None:
    from matplotlib.transforms import IdentityTransform, blended_transform_factory

    for line, height in zip(lines, heights, strict=True):
        axes.plot(
            epochs,
            height,
            color=line.color,
            linestyle=line.style,
            linewidth=2 * LINE if line.bold else LINE,
            marker="o",
            markersize=POINT,
            markevery=_lone(line.values),
            zorder=4 if line.bold else 3,
            transform=blended_transform_factory(axes.transData, IdentityTransform()),
            clip_on=False,
        )


def _lone(values: Floats) -> list[int]:
    """Return the places of values without defined neighbors, which no line passes through."""
    defined = np.pad(np.isfinite(values), 1)
    return np.flatnonzero(defined[1:-1] & ~defined[:-2] & ~defined[2:]).tolist()


def _label(
    axes: "Axes", epochs: Floats, lines: Sequence[Line], heights: Floats, texts: Sequence["Text"]
) -> None:
    """Put the labels beside the chart, each tied to the end of its line by a thin leader."""
    from matplotlib.lines import Line2D
    from matplotlib.transforms import IdentityTransform

    box = axes.bbox
    ends = [line.end for line in lines]
    wanted = [box.y0 if e is None else h[e] for e, h in zip(ends, heights, strict=True)]
    half = LABEL_HEIGHT / 2
    places = spread(np.array(wanted), LABEL_HEIGHT, box.y0 + half, box.y1 - half)
    for line, text, end, start, place in zip(lines, texts, ends, wanted, places, strict=True):
        text.set_position((box.x1 + LEADER, place))
        if end is not None:
            x = axes.transData.transform((epochs[end], 0))[0]
            leader = Line2D(
                [x, box.x1, box.x1 + LEADER - 5],
                [start, start, place],
                color=line.color,
                linewidth=0.8,
                transform=IdentityTransform(),
            )
            axes.figure.add_artist(leader)


def spread(wanted: Floats, distance: float, low: float = -np.inf, high: float = np.inf) -> Floats:
    """Return the places (N,) nearest to the wanted ones that are at least `distance` apart.

    Their order is kept. They stay between `low` and `high` if they fit, else they pass `high`.
    """
    order = np.argsort(wanted, kind="stable")
    steps = distance * np.arange(len(wanted))
    # Less its steps, a place may not lie below the one before: a monotone least-squares fit,
    # found by giving neighbors that are out of order their mean.
    blocks: list[list[float]] = []
    for value in (wanted[order] - steps).tolist():
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    fitted = np.array([np.mean(block) for block in blocks for _ in block])
    places = np.empty(len(wanted))
    top = high - distance * (len(wanted) - 1)
    places[order] = np.clip(fitted, low, max(low, top)) + steps
    return places

"""Small multiples: a square panel for each finding."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.reporting.plots import (
    GRAY,
    PAGE,
    TITLE,
    TYPE,
    hide_frame,
    new_figure,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS, MIN_COLUMNS = 4, 2  # of panels
# in points: beside the name of the vertical axis, for that of the horizontal one, for a legend
SIDE, FOOT, LEGEND = 8.0, 22.0, 24.0
# around a panel: tick labels, room to the next one, room above the title, tick labels
LEFT, RIGHT, TOP, BOTTOM = 38.0, 12.0, 12.0, 20.0
LEADING = 12.5  # from line to line of a title

# Draws one panel, given its axes, its place and its side in points; returns the title's last line
DrawPanel = Callable[["Axes", int, float], str]


def panel_figure(
    names: Sequence[str],
    draw: DrawPanel,
    across: str,
    up: str,
    *,
    legend: Sequence[Any] = (),
) -> "Figure":
    """Return a figure of a panel for each finding, with one name for each axis.

    legend: handles of matplotlib with labels, shown on top.
    """
    columns = max(min(MAX_COLUMNS, len(names)), MIN_COLUMNS)
    rows = -(-len(names) // columns)
    up = wrapped(up, rows * (PAGE / columns - LEFT), TITLE)  # no longer than the panels are high
    beside = SIDE + LEADING * (1 + up.count("\n"))
    width = (PAGE - beside) / columns
    side, titles = width - LEFT - RIGHT, [wrapped(name, width - RIGHT, TITLE) for name in names]
    top = TOP + LEADING * (2 + max(title.count("\n") for title in titles))
    height = side + top + BOTTOM
    head = LEGEND if legend else 4.0
    total = head + rows * height + (FOOT if across else 4.0)
    figure = new_figure(total, layout=None)
    for place, title in enumerate(titles):
        row, column = divmod(place, columns)
        left, bottom = beside + column * width + LEFT, total - head - row * height - top - side
        axes = figure.add_axes((left / PAGE, bottom / total, side / PAGE, side / total))
        axes.tick_params(labelsize=TYPE)
        hide_frame(axes)
        last = draw(axes, place, side)
        at: dict[str, Any] = {
            "x": (4 - LEFT) / side,
            "y": 1 + 6 / side,
            "pad": 0,
            "linespacing": 1.15,
        }
        axes.set_title(f"{title}\n{last}".rstrip(), fontsize=TITLE, loc="left", **at)
    center = (beside + min(columns, len(names)) * width / 2) / PAGE
    figure.text(center, 6 / total, across, va="bottom", ha="center", fontsize=TITLE)
    middle = (total - head - rows * height / 2) / total
    figure.text(4 / PAGE, middle, up, va="center", rotation=90, fontsize=TITLE)
    if legend:
        figure.legend(
            handles=legend, loc="upper left", bbox_to_anchor=(beside / PAGE, 1), fontsize=TYPE,
            ncols=len(legend), frameon=False, borderaxespad=0.2,
        )  # fmt: skip
    return figure


def say_undefined(axes: "Axes") -> None:
    """Write that there is nothing to draw."""
    axes.text(
        0.5, 0.5, "undefined", ha="center", va="center", fontsize=TYPE, color=GRAY,
        transform=axes.transAxes,
    )  # fmt: skip

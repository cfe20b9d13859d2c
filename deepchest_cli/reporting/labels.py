"""Labels beside a plot instead of a legend, each tied to its point by a thin leader."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.reporting.plots import DPI, POINTS, TYPE, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

# Lengths are in points.
LEADER, SAMPLE, GAP = 18.0, 22.0, 5.0  # from plot to sample, a sample of the line, sample to text
LEADING = 12.5  # from line to line


def label_width(label: Sequence[str]) -> float:
    """Return how much room a label of some lines needs right of a plot, with leader and sample."""
    return LEADER + SAMPLE + GAP + max(text_width(line) for line in label)


def place_labels(
    axes: "Axes",
    ends: Sequence[tuple[float, float] | None],
    labels: Sequence[Sequence[str]],
    samples: Sequence[Mapping[str, Any]],
) -> None:
    """Put labels of one or several lines right of a plot, as near to their points as they fit.

    ends: the point of each label in the plot's units, None without one; samples: the properties of
    the lines that stand before the labels.
    """
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Affine2D

    figure, to_points = axes.figure, POINTS / DPI
    # from points to pixels of whatever file is written
    plain: dict[str, Any] = {"transform": Affine2D().scale(1 / POINTS) + figure.dpi_scale_trans}
    _, low, right, high = (float(end) * to_points for end in axes.bbox.extents)
    points = [None if end is None else axes.transData.transform(end) * to_points for end in ends]
    wanted = [low if point is None else float(point[1]) for point in points]
    heights = _heights(wanted, [len(label) for label in labels], low, high)
    x = right + LEADER
    for point, rows, label, look in zip(points, heights, labels, samples, strict=True):
        for text, height in zip(label, rows, strict=True):
            figure.text(
                x + SAMPLE + GAP, height, text, fontsize=TYPE, va="center",
                parse_math=False, **plain,  # a name may have a dollar sign
            )  # fmt: skip
        if point is not None:
            start, thin = point[1], {"color": look["color"], "linewidth": 0.6}
            figure.add_artist(
                Line2D([point[0], right], [start] * 2, linestyle=":", **thin, **plain)
            )
            figure.add_artist(Line2D([right, x - 2], [start, rows[0]], **thin, **plain))
        across = [x, x + SAMPLE / 2, x + SAMPLE]
        figure.add_artist(Line2D(across, [rows[0]] * 3, markevery=[1], **look, **plain))


def _heights(
    wanted: Sequence[float], lines: Sequence[int], low: float, high: float
) -> list[list[float]]:
    """Return the height of each line of each label, the first line's first, in points."""
    owner = np.repeat(np.arange(len(lines)), lines)
    centers = np.repeat(np.array(wanted), lines)
    places = spread(centers, LEADING, low + LEADING / 2, high - LEADING / 2)
    return [sorted(places[owner == one].tolist(), reverse=True) for one in range(len(lines))]


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

"""The lungs' vessels: trees that leave the hila and thin out toward the periphery."""

import numpy as np
import numpy.typing as npt

from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Curves, Numbers

_TRUNKS = 10
_WIDTHS = (0.0085, 0.005, 0.003)
_COURSE_STRIDES = 2

Sides = npt.NDArray[np.int_]


def paint_vessels(canvas: Canvas, chance: np.random.Generator) -> None:
    """One tree a lung, fanned from the apex to the base; both grow together."""
    sides = np.repeat([RIGHT, LEFT], _TRUNKS)
    angles = np.concatenate([_trunk_angles(chance), _trunk_angles(chance)])
    lengths = chance.uniform(0.09, 0.14, 2 * _TRUNKS) * np.where(angles > 0.4, 1.2, 1.0)
    hila = np.repeat([canvas.anatomy.hilum_at(side) for side in (RIGHT, LEFT)], _TRUNKS, axis=0)
    # Vessels leave along the hilum's height, not from one point.
    spread = [chance.normal(0, 0.006, 2 * _TRUNKS), 0.035 * np.sin(angles)]
    starts = hila + np.stack(spread, axis=1)
    for generation, thickness in enumerate(_WIDTHS):
        bends = chance.uniform(-0.22, 0.22, len(angles))
        courses = _courses(starts, angles, lengths, bends, sides)
        widths = thickness * chance.uniform(0.6, 1.2, len(angles))
        canvas.vessels.lines(courses, widths, np.full(len(angles), 0.75 * 0.72**generation))
        starts, angles, lengths = _branch(courses, angles, lengths, chance)
        sides = np.tile(sides, 2)


def _trunk_angles(chance: np.random.Generator) -> Numbers:
    """Angle 0 points sideways, positive ones down; the lower zones have more vessels."""
    places = (np.arange(_TRUNKS) + chance.uniform(0, 1, _TRUNKS)) / _TRUNKS
    return np.asarray(-1.3 + 2.75 * places, np.float64)


def _courses(
    starts: Curves, angles: Numbers, lengths: Numbers, bends: Numbers, sides: Sides
) -> Curves:
    """Slightly bent lines that lead away from the midline: (vessels, points, 2)."""
    headings = angles[:, None] + bends[:, None] * np.arange(_COURSE_STRIDES)
    strides = np.stack([sides[:, None] * np.cos(headings), np.sin(headings)], axis=2)
    strides *= lengths[:, None, None] / _COURSE_STRIDES
    steps = np.concatenate([starts[:, None], strides], axis=1)
    return np.asarray(np.cumsum(steps, axis=1), np.float64)


def _branch(
    courses: Curves, angles: Numbers, lengths: Numbers, chance: np.random.Generator
) -> tuple[Curves, Numbers, Numbers]:
    """Two branches for each vessel: one from its end, one from its middle."""
    count = len(angles)
    starts = np.concatenate([courses[:, -1], courses[:, -2]])
    turns = np.concatenate([chance.normal(0.05, 0.15, count), chance.uniform(0.3, 0.75, count)])
    signs = np.where(chance.uniform(size=2 * count) < 0.5, -1, 1)
    shrink = chance.uniform(0.6, 0.9, 2 * count)
    return starts, np.tile(angles, 2) + signs * turns, np.tile(lengths, 2) * shrink

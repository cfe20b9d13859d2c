"""Ribs, clavicles and shoulder blades."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE, Anatomy
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import blob
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Curves, Numbers

_POSTERIOR_RIBS = 11
_ANTERIOR_RIBS = np.arange(1, 8)
_RIB_WIDTH = 0.021
_POINTS = 10


def paint_skeleton(canvas: Canvas) -> None:
    """Bones, faint to bright: anterior ribs, posterior ribs, shoulder blades, clavicles."""
    _paint_ribs(canvas, _anterior_ribs(canvas.anatomy), 0.3)
    _paint_ribs(canvas, _posterior_ribs(canvas.anatomy), 0.6)
    for side in (RIGHT, LEFT):
        _paint_shoulder(canvas, side)


def _paint_ribs(canvas: Canvas, courses: Curves, strength: float) -> None:
    """Both sides of ribs that are given as distance from the midline and height."""
    middle = np.array([MIDLINE, 0])
    placed = np.concatenate([courses * np.array([side, 1]) + middle for side in (RIGHT, LEFT)])
    # The lower border is the denser one.
    lower_borders = placed + np.array([0, 0.4 * _RIB_WIDTH])
    ones = np.ones(len(placed))
    canvas.bones.lines(placed, _RIB_WIDTH * ones, strength * ones)
    canvas.bones.lines(lower_borders, 0.005 * ones, (strength + 0.25) * ones)


def _lateral_ends(anatomy: Anatomy, ribs: Numbers) -> tuple[Numbers, Numbers]:
    """Where ribs turn round the lateral wall: distance from the midline, and height."""
    height = anatomy.apex + 0.012 + ribs * anatomy.rib_gap
    height = height + anatomy.rib_slope * np.minimum(ribs / 4, 1)
    reach = anatomy.wall_at(np.asarray(height, np.float32)).astype(np.float64) + 0.008
    return reach, height


def _posterior_ribs(anatomy: Anatomy) -> Curves:
    """From the spine up a little, sideways and then down: (ribs, points, 2)."""
    ribs = np.arange(_POSTERIOR_RIBS, dtype=np.float64)
    reach, end = _lateral_ends(anatomy, ribs)
    start = anatomy.apex + 0.015 + ribs * anatomy.rib_gap
    part = np.linspace(0, 1, _POINTS)
    across = 0.03 + (reach - 0.03)[:, None] * np.sin(part * np.pi / 2)
    rise = -0.018 * np.sin(np.pi * np.minimum(part * 1.6, 1))
    height = start[:, None] + rise + (end - start)[:, None] * part**2.4
    return np.stack([across, height], axis=2)


def _anterior_ribs(anatomy: Anatomy) -> Curves:
    """From the lateral wall down to where the cartilage, which does not show, begins."""
    ribs = _ANTERIOR_RIBS.astype(np.float64)
    reach, end = _lateral_ends(anatomy, ribs)
    part = np.linspace(0, 0.62, _POINTS) * np.pi / 2
    drop = 0.065 + 0.016 * ribs
    across = reach[:, None] * np.cos(part)
    return np.stack([across, end[:, None] + drop[:, None] * np.sin(part)], axis=2)


def _paint_shoulder(canvas: Canvas, side: int) -> None:
    """Clavicle, the blade's inner border and the head of the humerus."""
    anatomy = canvas.anatomy
    height, edge = anatomy.apex + 0.055, anatomy.half_width
    clavicle = [(0.035, 0.025), (0.12, 0.005), (0.21, -0.02), (0.3, -0.035), (edge + 0.06, -0.03)]
    blade = [(edge - 0.03, 0.02), (edge - 0.035, 0.16), (edge + 0.005, 0.27)]
    for course, width, strength in ((blade, 0.01, 0.5), (clavicle, 0.022, 0.8)):
        points = [(MIDLINE + side * across, height + down) for across, down in course]
        canvas.bones.line(points, width, strength)
    joint = (MIDLINE + side * (edge + 0.1), height + 0.02)
    canvas.add(blob(canvas.x, canvas.y, joint, (0.035, 0.04)), 0.1)

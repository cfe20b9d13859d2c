"""Findings between lung and chest wall: fluid, air, thickening."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import between, step
from deepchest_cli.data.synthetic.lesions import choose_side
from deepchest_cli.data.synthetic.specification import Field


def paint_effusion(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """Fluid that climbs the wall, on one side or, with a lower level, on both."""
    side = choose_side(chance)
    both = chance.uniform() < 0.3
    _paint_fluid(canvas, severity, side)
    if both:
        _paint_fluid(canvas, 0.5 * severity, -side)


def _paint_fluid(canvas: Canvas, severity: float, side: int) -> None:
    anatomy = canvas.anatomy
    angle = anatomy.angle(side)
    level = angle - between(0.04, 0.26, severity)
    to_wall = np.clip(anatomy.half_width - canvas.from_midline, 0, 1)
    surface = level + 0.04 - 0.09 * np.exp(-to_wall / 0.05)
    fluid = step(canvas.y - surface, 0.045) * canvas.lung(side)
    # Fluid has the density of the tissue around: it takes the lung's darkness away.
    canvas.add(fluid, anatomy.lung_air + 0.06)
    canvas.vessel_gain *= 1 - 0.9 * fluid
    outer = MIDLINE + side * anatomy.half_width
    inner = MIDLINE + side * 0.3 * anatomy.half_width
    canvas.box("Effusion", (min(outer, inner), level - 0.02), (max(outer, inner), angle))


def paint_pneumothorax(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """The lung falls away from the wall, most at the apex; outside it there is only air."""
    side = choose_side(chance)
    anatomy = canvas.anatomy
    gap = between(0.02, 0.12, severity)
    top = anatomy.apex + 1.1 * gap
    collapsed_edge = _pleural_distance(canvas, gap, canvas.y)
    collapsed = step(collapsed_edge - canvas.from_midline, 0.01) * step(canvas.y - top, 0.02)
    lung = canvas.lung(side)
    outside = np.asarray(lung * (1 - collapsed), np.float32)
    canvas.add(outside, -between(0.02, 0.09, severity))
    canvas.add(np.asarray(lung * collapsed, np.float32), between(0.01, 0.07, severity))
    canvas.vessel_gain *= 1 - outside
    heights = np.linspace(top + 0.002, anatomy.angle(side) - 0.03, 30).astype(np.float32)
    edge = _pleural_distance(canvas, gap, heights)
    across = MIDLINE + side * edge.astype(np.float64)
    canvas.bright.line(list(zip(across, heights.tolist(), strict=True)), 0.004, 0.5)
    wall = MIDLINE + side * anatomy.half_width
    inner = MIDLINE + side * 0.25 * anatomy.half_width
    bottom = anatomy.apex + 0.6 * (anatomy.base - anatomy.apex)
    canvas.box("Pneumothorax", (min(wall, inner), anatomy.apex), (max(wall, inner), bottom))


def _pleural_distance(canvas: Canvas, gap: float, y: Field) -> Field:
    """Distance from the midline to the visceral pleura: wall shape, smaller and lower."""
    anatomy = canvas.anatomy
    fallen = anatomy.apex + 1.1 * gap
    span = anatomy.base + anatomy.dome_depth - fallen
    stretched = anatomy.apex + np.clip((y - fallen) / span, 0, 1) * (
        anatomy.base + anatomy.dome_depth - anatomy.apex
    )
    narrow = 1 - gap / anatomy.half_width
    return np.asarray(narrow * anatomy.wall_at(np.asarray(stretched, np.float32)), np.float32)


def paint_pleural_thickening(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """A dense band inside the wall, or a cap over the apex."""
    side = choose_side(chance)
    anatomy = canvas.anatomy
    thickness = between(0.026, 0.06, severity)
    inset = anatomy.wall_at(canvas.y) - canvas.from_midline
    waves = 1 + 0.18 * np.sin(canvas.y * 30 + float(chance.uniform(0, 6)))
    band = step(np.asarray(thickness * waves - inset, np.float32), 0.014)
    span = anatomy.base - anatomy.apex
    if chance.uniform() < 0.4:
        reach = step(np.asarray(anatomy.apex + 0.35 * span - canvas.y, np.float32), 0.1)
    else:
        start = anatomy.apex + float(chance.uniform(0.25, 0.5)) * span
        reach = step(canvas.y - start, 0.06)
    canvas.add(band * reach * canvas.lung(side), between(0.2, 0.36, severity))

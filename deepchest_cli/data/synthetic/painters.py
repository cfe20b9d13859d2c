"""Findings of the pleura, of both lungs and of the mediastinum; and the painter of each finding."""

from collections.abc import Callable

import numpy as np

from deepchest_cli.data.synthetic import parenchyma
from deepchest_cli.data.synthetic.anatomy import MIDLINE, choose_side, place_in_lung
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import between, blob, ellipse, step, texture
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Chance, Curves, Field

Painter = Callable[[Canvas, float, Chance], None]


def paint_effusion(canvas: Canvas, severity: float, chance: Chance) -> None:
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


def paint_pneumothorax(canvas: Canvas, severity: float, chance: Chance) -> None:
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
    fallen, bottom = anatomy.apex + 1.1 * gap, anatomy.base + anatomy.dome_depth
    depth = np.clip((y - fallen) / (bottom - fallen), 0, 1)
    stretched = anatomy.apex + depth * (bottom - anatomy.apex)
    narrow = 1 - gap / anatomy.half_width
    return np.asarray(narrow * anatomy.wall_at(np.asarray(stretched, np.float32)), np.float32)


def paint_pleural_thickening(canvas: Canvas, severity: float, chance: Chance) -> None:
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


def paint_edema(canvas: Canvas, severity: float, chance: Chance) -> None:
    """Bat wings, full vessels, and Kerley's lines at the outer bases."""
    mottle = np.clip(1 + 0.25 * texture(chance, 24, canvas.grid), 0, 2)
    for side in (RIGHT, LEFT):
        hilum = canvas.anatomy.hilum_at(side)
        wing = blob(canvas.x, canvas.y, (hilum[0] + side * 0.06, hilum[1] + 0.06), (0.085, 0.13))
        canvas.add(wing * mottle * canvas.lung(side), between(0.06, 0.21, severity))
        canvas.bright.lines(*_kerley_lines(canvas, chance, side))
    canvas.vessel_gain *= between(1.2, 1.6, severity)


def _kerley_lines(canvas: Canvas, chance: Chance, side: int) -> tuple[Curves, Curves, Curves]:
    """Short horizontal lines that reach the pleura: courses, widths, strengths."""
    count = int(chance.integers(4, 9))
    heights = chance.uniform(0.7, 0.95, count)
    outer = np.array([place_in_lung(canvas.anatomy, side, 0.97, height) for height in heights])
    inner = outer - np.stack([side * chance.uniform(0.03, 0.05, count), np.zeros(count)], axis=1)
    return np.stack([outer, inner], axis=1), np.full(count, 0.003), np.full(count, 0.25)


def paint_fibrosis(canvas: Canvas, severity: float, chance: Chance) -> None:
    """A coarse net at the bases and along the periphery, over a faint haze."""
    count = int(between(70, 170, severity))
    for side in (RIGHT, LEFT):
        across = 1 - chance.uniform(0.0, 0.8, count) ** 1.5
        places = zip(across, 1.02 - 0.6 * chance.uniform(0, 1, count) ** 1.3, strict=True)
        nodes = np.array([place_in_lung(canvas.anatomy, side, *place) for place in places])
        angles = chance.uniform(0, np.pi, count)
        lengths = chance.uniform(0.012, 0.03, count)[:, None]
        ends = nodes + lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        strength = between(0.2, 0.42, severity) * chance.uniform(0.5, 1, count)
        canvas.bright.lines(np.stack([nodes, ends], axis=1), np.full(count, 0.004), strength)
        base = place_in_lung(canvas.anatomy, side, 0.6, 0.9)
        haze = blob(canvas.x, canvas.y, base, (0.14, 0.14)) * canvas.lung(side)
        canvas.add(haze, between(0.03, 0.08, severity))


def paint_cardiomegaly(canvas: Canvas, severity: float, chance: Chance) -> None:
    """The heart is already drawn large; what remains is to say where it is."""
    across, height = canvas.anatomy.heart_center
    width, rise = 0.95 * canvas.anatomy.heart, 0.75 * canvas.anatomy.heart
    canvas.box("Cardiomegaly", (across - width, height - rise), (across + width, height + rise))


def paint_hernia(canvas: Canvas, severity: float, chance: Chance) -> None:
    """A stomach behind the heart: a thin round wall, air above a level, fluid below."""
    radius = between(0.075, 0.115, severity)
    across = MIDLINE + float(chance.uniform(0.0, 0.05))
    center = (across, canvas.anatomy.base - 0.75 * radius)
    sac = ellipse(canvas.x, canvas.y, center, (1.15 * radius, radius), softness=0.15)
    level = center[1] - float(chance.uniform(0.0, 0.3)) * radius
    air = sac * step(level - canvas.y, 0.008)
    canvas.add(sac, between(0.06, 0.12, severity))
    canvas.add(np.asarray(air, np.float32), -between(0.26, 0.4, severity))
    turns = np.linspace(0, 2 * np.pi, 40)
    outline = [
        (center[0] + 1.15 * radius * np.cos(turn), center[1] + radius * np.sin(turn))
        for turn in turns.tolist()
    ]
    canvas.bright.line(outline, 0.005, 0.25)


PAINTERS: dict[str, Painter] = {
    "Atelectasis": parenchyma.paint_atelectasis,
    "Cardiomegaly": paint_cardiomegaly,
    "Effusion": paint_effusion,
    "Infiltration": parenchyma.paint_infiltration,
    "Mass": parenchyma.paint_mass,
    "Nodule": parenchyma.paint_nodule,
    "Pneumonia": parenchyma.paint_pneumonia,
    "Pneumothorax": paint_pneumothorax,
    "Consolidation": parenchyma.paint_consolidation,
    "Edema": paint_edema,
    "Emphysema": parenchyma.paint_bullae,
    "Fibrosis": paint_fibrosis,
    "Pleural_Thickening": paint_pleural_thickening,
    "Hernia": paint_hernia,
}

"""Findings in the lung's tissue with a place of their own: patches, lobes, plates, rounds."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE, choose_place, choose_side, place_in_lung
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import between, blob, ellipse, step, texture
from deepchest_cli.data.synthetic.specification import Chance, Point


def paint_atelectasis(canvas: Canvas, severity: float, chance: Chance) -> None:
    """A plate above the diaphragm or, less often, a wedge toward the hilum."""
    side = choose_side(chance)
    wedge = chance.uniform() < 0.4
    center = choose_place(canvas.anatomy, side, chance, across=(0.35, 0.6), height=(0.7, 0.9))
    tilt = side * float(chance.uniform(-0.35, 0.35))
    length = float(chance.uniform(0.07, 0.12))
    thickness = between(0.009, 0.016, severity) * (2.6 if wedge else 1.0)
    along = np.cos(tilt) * (canvas.x - center[0]) + np.sin(tilt) * (canvas.y - center[1])
    if wedge:
        tilt += side * 0.5
        narrowing = np.clip(0.6 + side * along / length, 0.25, 1.3)
    else:
        narrowing = np.ones_like(along)
    across = np.cos(tilt) * (canvas.y - center[1]) - np.sin(tilt) * (canvas.x - center[0])
    body = np.exp(-0.5 * (across / (thickness * narrowing)) ** 2) * step(length - abs(along), 0.03)
    canvas.add(body * canvas.lung(side), between(0.1, 0.24, severity))
    crowding = blob(canvas.x, canvas.y, (center[0], center[1] + 0.05), (0.12, 0.06))
    canvas.add(crowding * canvas.lung(side), between(0.02, 0.07, severity))
    half_height = 2 * thickness + abs(np.sin(tilt)) * length
    _box(canvas, "Atelectasis", center, (length, float(half_height)))


def paint_consolidation(canvas: Canvas, severity: float, chance: Chance) -> None:
    """A lobe without air: dense, straight at its fissure, with dark bronchi inside."""
    side = choose_side(chance)
    center = choose_place(canvas.anatomy, side, chance, across=(0.4, 0.65), height=(0.25, 0.8))
    radius = (float(chance.uniform(0.1, 0.14)), between(0.075, 0.12, severity))
    lobe = ellipse(canvas.x, canvas.y, center, radius, softness=0.6)
    fissure = center[1] + (0.5 if chance.uniform() < 0.5 else -0.5) * radius[1]
    toward_center = np.sign(center[1] - fissure)
    lobe *= step(toward_center * (canvas.y - fissure), 0.015)
    mottle = 1 + 0.12 * texture(chance, 16, canvas.grid)
    canvas.add(lobe * mottle * canvas.lung(side), between(0.19, 0.34, severity))
    canvas.vessel_gain *= 1 - 0.8 * lobe
    _paint_air_bronchograms(canvas, chance, center, side)
    _box(canvas, "Consolidation", center, radius)


def _paint_air_bronchograms(canvas: Canvas, chance: Chance, center: Point, side: int) -> None:
    start = (center[0] - side * 0.05, center[1] + float(chance.uniform(-0.02, 0.02)))
    for angle in (chance.uniform(-0.25, 0.25) + np.array([-0.55, 0.0, 0.5])).tolist():
        reach = float(chance.uniform(0.06, 0.1))
        end = (start[0] + side * reach * np.cos(angle), start[1] + reach * np.sin(angle))
        canvas.dark.line([start, end], 0.005, 0.3)


def paint_pneumonia(canvas: Canvas, severity: float, chance: Chance) -> None:
    """One fluffy segment."""
    side = choose_side(chance)
    center = choose_place(canvas.anatomy, side, chance, across=(0.25, 0.75), height=(0.3, 0.9))
    radius = (float(chance.uniform(0.035, 0.06)), float(chance.uniform(0.035, 0.055)))
    fluff = np.clip(1 + 0.45 * texture(chance, 20, canvas.grid), 0, 2)
    patch = blob(canvas.x, canvas.y, center, radius) * fluff * canvas.lung(side)
    canvas.add(np.asarray(patch, np.float32), between(0.07, 0.18, severity))
    _box(canvas, "Pneumonia", center, (1.7 * radius[0], 1.7 * radius[1]))


def paint_infiltration(canvas: Canvas, severity: float, chance: Chance) -> None:
    """Several faint patches without a border, in one lung or both."""
    side = choose_side(chance)
    both = chance.uniform() < 0.5
    patches = np.zeros_like(canvas.x)
    centers = []
    for index in range(int(chance.integers(2, 5))):
        here = -side if both and index % 2 else side
        center = choose_place(canvas.anatomy, here, chance, across=(0.1, 0.7), height=(0.35, 0.9))
        radius = (float(chance.uniform(0.04, 0.07)), float(chance.uniform(0.04, 0.08)))
        patches = np.maximum(patches, blob(canvas.x, canvas.y, center, radius))
        centers.append(center)
    mottle = np.clip(1 + 0.6 * texture(chance, 28, canvas.grid), 0, 2)
    canvas.add(patches * mottle * canvas.lungs, between(0.03, 0.1, severity))
    same_side = [center for center in centers if (center[0] - MIDLINE) * side > 0]
    (left, top), (right, bottom) = np.min(same_side, axis=0), np.max(same_side, axis=0)
    canvas.box("Infiltration", (left - 0.06, top - 0.06), (right + 0.06, bottom + 0.06))


def paint_mass(canvas: Canvas, severity: float, chance: Chance) -> None:
    """More than 3 cm across: a radius from 0.04 of the frame up."""
    side = choose_side(chance)
    center = choose_place(canvas.anatomy, side, chance, height=(0.2, 0.85))
    radius = between(0.042, 0.08, severity * float(chance.uniform(0.5, 1.0)))
    strength = between(0.13, 0.26, severity)
    _paint_round(canvas, chance, center, radius, strength)
    _box(canvas, "Mass", center, (radius, radius))


def paint_nodule(canvas: Canvas, severity: float, chance: Chance) -> None:
    """Less than 3 cm across: a radius of up to 0.035 of the frame."""
    side = choose_side(chance)
    center = choose_place(canvas.anatomy, side, chance, height=(0.12, 0.9))
    radius = between(0.014, 0.034, severity * float(chance.uniform(0.6, 1.0)))
    _paint_round(canvas, chance, center, radius, between(0.13, 0.24, severity))
    if chance.uniform() < 0.3:
        satellite = choose_place(canvas.anatomy, side, chance, height=(0.12, 0.9))
        _paint_round(canvas, chance, satellite, 0.7 * radius, between(0.12, 0.2, severity))
    _box(canvas, "Nodule", center, (1.1 * radius, 1.1 * radius))


def _paint_round(
    canvas: Canvas, chance: Chance, center: Point, radius: float, strength: float
) -> None:
    """Lobulated: three overlapping rounds."""
    lobes = ellipse(canvas.x, canvas.y, center, (radius, radius), softness=0.35)
    for angle in chance.uniform(0, 2 * np.pi, 2).tolist():
        offset = 0.35 * radius
        lobe = (center[0] + offset * np.cos(angle), center[1] + offset * np.sin(angle))
        part = ellipse(canvas.x, canvas.y, lobe, (0.75 * radius, 0.75 * radius), softness=0.4)
        lobes = np.maximum(lobes, part)
    canvas.add(lobes * (0.25 + 0.75 * canvas.lungs), strength)


def paint_bullae(canvas: Canvas, severity: float, chance: Chance) -> None:
    """Emphysema: fewer vessels, and round spaces with hardly any tissue in the upper zones."""
    canvas.vessel_gain *= between(0.75, 0.45, severity)
    for _ in range(int(chance.integers(1, 4))):
        side = choose_side(chance)
        place = (float(chance.uniform(0.3, 0.8)), float(chance.uniform(0.1, 0.5)))
        center = place_in_lung(canvas.anatomy, side, *place)
        bulla = blob(canvas.x, canvas.y, center, (0.05, 0.05)) * canvas.lung(side)
        canvas.add(bulla, -0.04 * severity)


def _box(canvas: Canvas, finding: str, center: Point, half: tuple[float, float]) -> None:
    low = (center[0] - half[0], center[1] - half[1])
    canvas.box(finding, low, (center[0] + half[0], center[1] + half[1]))

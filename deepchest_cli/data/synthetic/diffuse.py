"""Findings of both lungs at once, and those of the mediastinum."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import between, blob, ellipse, step, texture
from deepchest_cli.data.synthetic.lesions import place_in_lung
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Curves


def paint_edema(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """Bat wings, full vessels, and Kerley's lines at the outer bases."""
    mottle = np.clip(1 + 0.25 * texture(chance, 24, canvas.grid), 0, 2)
    for side in (RIGHT, LEFT):
        hilum = canvas.anatomy.hilum_at(side)
        wing = blob(canvas.x, canvas.y, (hilum[0] + side * 0.06, hilum[1] + 0.06), (0.085, 0.13))
        canvas.add(wing * mottle * canvas.lung(side), between(0.06, 0.21, severity))
        canvas.bright.lines(*_kerley_lines(canvas, chance, side))
    canvas.vessel_gain *= between(1.2, 1.6, severity)


def _kerley_lines(
    canvas: Canvas, chance: np.random.Generator, side: int
) -> tuple[Curves, Curves, Curves]:
    """Short horizontal lines that reach the pleura: courses, widths, strengths."""
    count = int(chance.integers(4, 9))
    heights = chance.uniform(0.7, 0.95, count)
    outer = np.array([place_in_lung(canvas.anatomy, side, 0.97, height) for height in heights])
    inner = outer - np.stack([side * chance.uniform(0.03, 0.05, count), np.zeros(count)], axis=1)
    return np.stack([outer, inner], axis=1), np.full(count, 0.003), np.full(count, 0.25)


def paint_fibrosis(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """A coarse net at the bases and along the periphery, over a faint haze."""
    count = int(between(70, 170, severity))
    for side in (RIGHT, LEFT):
        nodes = np.array(
            [
                place_in_lung(canvas.anatomy, side, across, height)
                for across, height in zip(
                    1 - chance.uniform(0.0, 0.8, count) ** 1.5,
                    1.02 - 0.6 * chance.uniform(0, 1, count) ** 1.3,
                    strict=True,
                )
            ]
        )
        angles = chance.uniform(0, np.pi, count)
        lengths = chance.uniform(0.012, 0.03, count)[:, None]
        ends = nodes + lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        strength = between(0.2, 0.42, severity) * chance.uniform(0.5, 1, count)
        canvas.bright.lines(np.stack([nodes, ends], axis=1), np.full(count, 0.004), strength)
        base = place_in_lung(canvas.anatomy, side, 0.6, 0.9)
        haze = blob(canvas.x, canvas.y, base, (0.14, 0.14)) * canvas.lung(side)
        canvas.add(haze, between(0.03, 0.08, severity))


def paint_cardiomegaly(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
    """The heart is already drawn large; what remains is to say where it is."""
    across, height = canvas.anatomy.heart_center
    width, rise = 0.95 * canvas.anatomy.heart, 0.75 * canvas.anatomy.heart
    canvas.box("Cardiomegaly", (across - width, height - rise), (across + width, height + rise))


def paint_hernia(canvas: Canvas, severity: float, chance: np.random.Generator) -> None:
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

"""What is no finding but looks like one: nipples, calcified spots, lines, folds, haze."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE, choose_place, choose_side, place_in_lung
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import blob, ellipse, texture
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT


def paint_lasting_confusers(canvas: Canvas, chance: np.random.Generator) -> None:
    """Those that a patient keeps."""
    has_nipples, has_spots, has_device = chance.uniform(size=3) < (0.15, 0.2, 0.03)
    if has_nipples:
        _paint_nipples(canvas, chance)
    if has_spots:
        _paint_calcified_spots(canvas, chance)
    if has_device:
        _paint_pacemaker(canvas, chance)


def paint_passing_confusers(canvas: Canvas, chance: np.random.Generator, *, portable: bool) -> None:
    """Those of one picture: uneven haze, and on portable ones leads and skin folds."""
    canvas.add(texture(chance, 7, canvas.grid) * canvas.lungs, float(chance.uniform(0.006, 0.022)))
    if chance.uniform() < (0.55 if portable else 0.06):
        _paint_leads(canvas, chance)
    if chance.uniform() < (0.15 if portable else 0.03):
        _paint_skin_fold(canvas, chance)


def _paint_nipples(canvas: Canvas, chance: np.random.Generator) -> None:
    across, height = float(chance.uniform(0.5, 0.7)), float(chance.uniform(0.78, 0.9))
    for side in (RIGHT, LEFT):
        center = place_in_lung(canvas.anatomy, side, across, height)
        canvas.add(ellipse(canvas.x, canvas.y, center, (0.013, 0.013), softness=0.8), 0.08)


def _paint_calcified_spots(canvas: Canvas, chance: np.random.Generator) -> None:
    for _ in range(int(chance.integers(1, 4))):
        x, y = choose_place(canvas.anatomy, choose_side(chance), chance)
        canvas.bright.line([(x, y), (x + 0.004, y)], float(chance.uniform(0.006, 0.012)), 0.5)


def _paint_pacemaker(canvas: Canvas, chance: np.random.Generator) -> None:
    x, y = MIDLINE + 0.24, canvas.anatomy.apex + 0.1
    body = [
        (x - 0.03, y - 0.025),
        (x + 0.03, y - 0.025),
        (x + 0.035, y + 0.02),
        (x - 0.025, y + 0.03),
    ]
    canvas.bright.area(body, 0.8)
    heart = canvas.anatomy.heart_center
    lead = [(x - 0.03, y), (MIDLINE + 0.04, y - 0.02), (MIDLINE - 0.03, y + 0.12), heart]
    canvas.bright.line(lead, 0.005, 0.5)


def _paint_leads(canvas: Canvas, chance: np.random.Generator) -> None:
    """Wires over the chest, each with an electrode at its end."""
    for _ in range(int(chance.integers(1, 4))):
        start = np.array([chance.uniform(0.1, 0.9), chance.uniform(0.0, 0.15)])
        end = np.array([chance.uniform(0.2, 0.8), chance.uniform(0.4, 0.8)])
        part = np.linspace(0, 1, 12)[:, None]
        sag = np.array([float(chance.uniform(-0.1, 0.1)), 0.02])
        course = start + (end - start) * part + sag * np.sin(np.pi * part)
        points = [(float(x), float(y)) for x, y in course]
        canvas.bright.line(points, 0.004, 0.5)
        canvas.bright.line([points[-1], (points[-1][0] + 0.006, points[-1][1])], 0.016, 0.6)


def _paint_skin_fold(canvas: Canvas, chance: np.random.Generator) -> None:
    """A long faint edge that resembles a pleural line; vessels cross it."""
    side = choose_side(chance)
    top = np.array(place_in_lung(canvas.anatomy, side, float(chance.uniform(0.5, 0.9)), 0.1))
    bottom = np.array(place_in_lung(canvas.anatomy, side, float(chance.uniform(0.5, 0.9)), 0.9))
    course = [tuple((top + (bottom - top) * part).tolist()) for part in (0, 0.3, 0.6, 1)]
    canvas.bright.line([(x, y) for x, y in course], 0.006, 0.22)


def paint_poor_inspiration(canvas: Canvas, chance: np.random.Generator) -> None:
    """Crowded bases of a shallow breath, which resemble infiltration."""
    strength = float(chance.uniform(0.0, 0.07))
    for side in (RIGHT, LEFT):
        base = place_in_lung(canvas.anatomy, side, 0.35, 0.93)
        canvas.add(blob(canvas.x, canvas.y, base, (0.12, 0.07)) * canvas.lung(side), strength)

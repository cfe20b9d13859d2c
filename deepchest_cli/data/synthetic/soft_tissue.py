"""The body's silhouette, lungs, mediastinum, heart, abdomen and breasts."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import blob, ellipse, step
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Field

_BODY = 0.56


def paint_soft_tissue(canvas: Canvas, chance: np.random.Generator) -> None:
    """All that is smooth, from the outside in."""
    body = _body(canvas)
    canvas.add(body, _BODY)
    _paint_lungs(canvas)
    _paint_mediastinum(canvas)
    _paint_spine(canvas)
    _paint_abdomen(canvas, chance, body)
    _paint_breasts(canvas)
    canvas.density *= np.sqrt(np.clip(body, 0, 1))


def _body(canvas: Canvas) -> Field:
    anatomy, x, y = canvas.anatomy, canvas.from_midline, canvas.y
    neck = 0.105 + 0.4 * np.clip(0.03 - y, 0, 1)
    shoulders = np.clip((y - 0.0) / 0.3, 0, 1)
    upper = neck + (anatomy.shoulder + 0.06 - neck) * np.sqrt(shoulders * (2 - shoulders)) ** 1.6
    trunk = anatomy.half_width + anatomy.wall
    edge = upper + (trunk - upper) * step(y - 0.42, 0.35)
    depth = np.clip(1 - (x / np.maximum(edge, 0.05)) ** 4, 0, 1)
    return np.asarray(np.sqrt(depth), np.float32)


def _paint_lungs(canvas: Canvas) -> None:
    anatomy = canvas.anatomy
    middle = blob(
        canvas.from_midline, canvas.y, (0.17, 0.5 * (anatomy.apex + anatomy.base)), (0.16, 0.3)
    )
    canvas.density -= anatomy.lung_air * canvas.lungs * (0.72 + 0.28 * middle)


def _paint_mediastinum(canvas: Canvas) -> None:
    """Great vessels, aortic knob and heart give the lung's darkness back, and more."""
    heart = heart_mask(canvas)
    trunk = np.maximum(_trunk(canvas), heart)
    air = canvas.anatomy.lung_air
    canvas.density += trunk * canvas.lungs * (0.85 * air + 0.03)
    canvas.add(trunk, 0.06)
    canvas.add(blob(canvas.x, canvas.y, canvas.anatomy.heart_center, (0.12, 0.12)) * heart, 0.07)
    for side in (RIGHT, LEFT):
        hilum = blob(canvas.x, canvas.y, canvas.anatomy.hilum_at(side), (0.024, 0.045))
        canvas.add(hilum * canvas.lungs * (1 - trunk), 0.16 * canvas.anatomy.hilum)
    # What lies in front of the lungs hides their vessels and most of their lesions.
    canvas.lungs = np.asarray(canvas.lungs * (1 - 0.8 * trunk), np.float32)


def _trunk(canvas: Canvas) -> Field:
    anatomy, y = canvas.anatomy, canvas.y
    knob_height = anatomy.apex + 0.27 * (anatomy.base - anatomy.apex)
    left = anatomy.aortic_knob * np.exp(-(((y - knob_height) / 0.035) ** 2))
    pulmonary = 0.012 * np.exp(-(((y - knob_height - 0.085) / 0.035) ** 2))
    # From the pulmonary trunk the left border slopes down into the ventricle.
    slope = 0.3 * np.clip(y - knob_height - 0.09, 0, 0.2)
    right = 0.008 * step(y - knob_height - 0.1, 0.2)
    edge = anatomy.mediastinum + np.where(canvas.side == LEFT, left + pulmonary + slope, right)
    across = np.abs(canvas.x - MIDLINE - anatomy.mediastinal_shift)
    return step(np.asarray(edge - across, np.float32), 0.018)


def heart_mask(canvas: Canvas) -> Field:
    """The heart: a tilted ellipse, with the right atrium's bulge."""
    anatomy, (across, height) = canvas.anatomy, canvas.anatomy.heart_center
    length = anatomy.heart
    body = ellipse(
        canvas.x,
        canvas.y,
        (across, height),
        (length, 0.72 * length),
        tilt=anatomy.heart_tilt,
        softness=0.18,
    )
    atrium = (across - 0.33 * length, height + 0.1 * length)
    right = ellipse(canvas.x, canvas.y, atrium, (0.55 * length, 0.6 * length), softness=0.15)
    return np.maximum(body, right)


def _paint_spine(canvas: Canvas) -> None:
    x, y = canvas.from_midline, canvas.y
    column = step(np.asarray(0.036 - x, np.float32), 0.02)
    # A disc shows as a slightly darker gap about every 0.045 of the frame (2 cm).
    discs = 0.75 + 0.25 * np.sin(y * (2 * np.pi / 0.045))
    canvas.add(np.asarray(column * discs, np.float32), 0.06)
    trachea = step(np.asarray(0.014 - x, np.float32), 0.012) * step(0.33 - y, 0.1)
    canvas.add(trachea, -0.09)


def _paint_abdomen(canvas: Canvas, chance: np.random.Generator, body: Field) -> None:
    below = step(canvas.below_diaphragm, 0.014)
    canvas.add(below * body, 0.2)
    canvas.add(step(canvas.below_diaphragm - 0.08, 0.3) * body, 0.08)
    center = (MIDLINE + float(chance.uniform(0.13, 0.2)), canvas.anatomy.dome(LEFT) + 0.05)
    radius = (float(chance.uniform(0.03, 0.075)), float(chance.uniform(0.015, 0.03)))
    bubble = ellipse(canvas.x, canvas.y, center, radius, softness=0.5)
    canvas.add(bubble * below, -0.18 * float(chance.uniform(0.2, 1.0)))


def _paint_breasts(canvas: Canvas) -> None:
    anatomy = canvas.anatomy
    center = (0.62 * anatomy.half_width, 0.86 * anatomy.base)
    radius = (0.17, 0.12 + 0.06 * anatomy.breast)
    shadow = ellipse(canvas.from_midline, canvas.y, center, radius, softness=0.2)
    # The upper border fades out; only the lower fold is sharp.
    fade = np.clip((canvas.y - center[1] + 0.12) / 0.2, 0, 1)
    canvas.add(np.asarray(shadow * fade, np.float32), 0.11 * anatomy.breast)

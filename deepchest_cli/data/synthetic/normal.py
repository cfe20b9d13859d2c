"""Normal anatomy and what looks like a finding: soft tissue, bones, vessels, confusers."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import (
    MIDLINE,
    Anatomy,
    choose_place,
    choose_side,
    place_in_lung,
)
from deepchest_cli.data.synthetic.canvas import Canvas
from deepchest_cli.data.synthetic.fields import blob, ellipse, step, texture
from deepchest_cli.data.synthetic.specification import (
    LEFT,
    RIGHT,
    Chance,
    Curves,
    Field,
    Integers,
    Numbers,
)

_BODY = 0.56
_POSTERIOR_RIBS = 11
_ANTERIOR_RIBS = np.arange(1, 8)
_RIB_WIDTH = 0.021
_POINTS = 10
_TRUNKS = 10
_WIDTHS = (0.0085, 0.005, 0.003)
_COURSE_STRIDES = 2


def paint_soft_tissue(canvas: Canvas, chance: Chance) -> None:
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
    center = (0.17, 0.5 * (anatomy.apex + anatomy.base))
    middle = blob(canvas.from_midline, canvas.y, center, (0.16, 0.3))
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
    center, length = canvas.anatomy.heart_center, canvas.anatomy.heart
    axes, tilt = (length, 0.72 * length), canvas.anatomy.heart_tilt
    body = ellipse(canvas.x, canvas.y, center, axes, tilt=tilt, softness=0.18)
    atrium = (center[0] - 0.33 * length, center[1] + 0.1 * length)
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


def _paint_abdomen(canvas: Canvas, chance: Chance, body: Field) -> None:
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


def paint_vessels(canvas: Canvas, chance: Chance) -> None:
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


def _trunk_angles(chance: Chance) -> Numbers:
    """Angle 0 points sideways, positive ones down; the lower zones have more vessels."""
    places = (np.arange(_TRUNKS) + chance.uniform(0, 1, _TRUNKS)) / _TRUNKS
    return np.asarray(-1.3 + 2.75 * places, np.float64)


def _courses(
    starts: Curves, angles: Numbers, lengths: Numbers, bends: Numbers, sides: Integers
) -> Curves:
    """Slightly bent lines that lead away from the midline: (vessels, points, 2)."""
    headings = angles[:, None] + bends[:, None] * np.arange(_COURSE_STRIDES)
    strides = np.stack([sides[:, None] * np.cos(headings), np.sin(headings)], axis=2)
    strides *= lengths[:, None, None] / _COURSE_STRIDES
    steps = np.concatenate([starts[:, None], strides], axis=1)
    return np.asarray(np.cumsum(steps, axis=1), np.float64)


def _branch(
    courses: Curves, angles: Numbers, lengths: Numbers, chance: Chance
) -> tuple[Curves, Numbers, Numbers]:
    """Two branches for each vessel: one from its end, one from its middle."""
    count = len(angles)
    starts = np.concatenate([courses[:, -1], courses[:, -2]])
    turns = np.concatenate([chance.normal(0.05, 0.15, count), chance.uniform(0.3, 0.75, count)])
    signs = np.where(chance.uniform(size=2 * count) < 0.5, -1, 1)
    shrink = chance.uniform(0.6, 0.9, 2 * count)
    return starts, np.tile(angles, 2) + signs * turns, np.tile(lengths, 2) * shrink


def paint_lasting_confusers(canvas: Canvas, chance: Chance) -> None:
    """Those that a patient keeps."""
    has_nipples, has_spots, has_device = chance.uniform(size=3) < (0.15, 0.2, 0.03)
    if has_nipples:
        _paint_nipples(canvas, chance)
    if has_spots:
        _paint_calcified_spots(canvas, chance)
    if has_device:
        _paint_pacemaker(canvas, chance)


def paint_passing_confusers(canvas: Canvas, chance: Chance, *, portable: bool) -> None:
    """Those of one image: uneven haze, and on portable ones leads and skin folds."""
    canvas.add(texture(chance, 7, canvas.grid) * canvas.lungs, float(chance.uniform(0.006, 0.022)))
    if chance.uniform() < (0.55 if portable else 0.06):
        _paint_leads(canvas, chance)
    if chance.uniform() < (0.15 if portable else 0.03):
        _paint_skin_fold(canvas, chance)


def _paint_nipples(canvas: Canvas, chance: Chance) -> None:
    across, height = float(chance.uniform(0.5, 0.7)), float(chance.uniform(0.78, 0.9))
    for side in (RIGHT, LEFT):
        center = place_in_lung(canvas.anatomy, side, across, height)
        canvas.add(ellipse(canvas.x, canvas.y, center, (0.013, 0.013), softness=0.8), 0.08)


def _paint_calcified_spots(canvas: Canvas, chance: Chance) -> None:
    for _ in range(int(chance.integers(1, 4))):
        x, y = choose_place(canvas.anatomy, choose_side(chance), chance)
        canvas.bright.line([(x, y), (x + 0.004, y)], float(chance.uniform(0.006, 0.012)), 0.5)


def _paint_pacemaker(canvas: Canvas, chance: Chance) -> None:
    canvas.has_device = True
    x, y = MIDLINE + 0.24, canvas.anatomy.apex + 0.1
    corners = ((-0.03, -0.025), (0.03, -0.025), (0.035, 0.02), (-0.025, 0.03))
    canvas.bright.area([(x + across, y + down) for across, down in corners], 0.8)
    heart = canvas.anatomy.heart_center
    lead = [(x - 0.03, y), (MIDLINE + 0.04, y - 0.02), (MIDLINE - 0.03, y + 0.12), heart]
    canvas.bright.line(lead, 0.005, 0.5)


def _paint_leads(canvas: Canvas, chance: Chance) -> None:
    """Wires over the chest, each with an electrode at its end."""
    canvas.has_device = True
    for _ in range(int(chance.integers(1, 4))):
        start = np.array([chance.uniform(0.1, 0.9), chance.uniform(0.0, 0.15)])
        end = np.array([chance.uniform(0.2, 0.8), chance.uniform(0.4, 0.8)])
        part = np.linspace(0, 1, 12)[:, None]
        sag = np.array([float(chance.uniform(-0.1, 0.1)), 0.02])
        course = start + (end - start) * part + sag * np.sin(np.pi * part)
        points = [(float(x), float(y)) for x, y in course]
        canvas.bright.line(points, 0.004, 0.5)
        canvas.bright.line([points[-1], (points[-1][0] + 0.006, points[-1][1])], 0.016, 0.6)


def _paint_skin_fold(canvas: Canvas, chance: Chance) -> None:
    """A long faint edge that resembles a pleural line; vessels cross it."""
    side = choose_side(chance)
    top = np.array(place_in_lung(canvas.anatomy, side, float(chance.uniform(0.5, 0.9)), 0.1))
    bottom = np.array(place_in_lung(canvas.anatomy, side, float(chance.uniform(0.5, 0.9)), 0.9))
    course = [tuple((top + (bottom - top) * part).tolist()) for part in (0, 0.3, 0.6, 1)]
    canvas.bright.line([(x, y) for x, y in course], 0.006, 0.22)


def paint_poor_inspiration(canvas: Canvas, chance: Chance) -> None:
    """Crowded bases of a shallow breath, which resemble infiltration."""
    strength = float(chance.uniform(0.0, 0.07))
    for side in (RIGHT, LEFT):
        base = place_in_lung(canvas.anatomy, side, 0.35, 0.93)
        canvas.add(blob(canvas.x, canvas.y, base, (0.12, 0.07)) * canvas.lung(side), strength)

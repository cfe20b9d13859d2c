"""One specification to one radiograph: what is painted in which order, and how it is exposed."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.anatomy import RESHAPERS, Anatomy, build_anatomy
from deepchest_cli.data.synthetic.canvas import Canvas, choose_positioning
from deepchest_cli.data.synthetic.normal import (
    paint_lasting_confusers,
    paint_passing_confusers,
    paint_poor_inspiration,
    paint_skeleton,
    paint_soft_tissue,
    paint_vessels,
)
from deepchest_cli.data.synthetic.painters import PAINTERS
from deepchest_cli.data.synthetic.specification import (
    Chance,
    Field,
    Lesion,
    Machine,
    Pixels,
    RadiographSpec,
    Rendered,
    Shown,
    Stream,
    image_chance,
    patient_chance,
)

_GRAY_LEVELS = 255
# The curve from density to gray is tabulated: densities 0 to 2 in fine steps.
_DENSEST, _STEPS = 2.0, 4096


def render_radiograph(spec: RadiographSpec, size: int) -> Rendered:
    """The radiograph of a specification, (size, size), with the boxes of its findings."""
    canvas = Canvas(size, _reshaped_anatomy(spec), choose_positioning(spec))
    _paint_normal(canvas, spec)
    for lesion in spec.lesions:
        PAINTERS[lesion.finding](canvas, lesion.severity, _lesion_chance(spec, lesion))
    pixels = expose(canvas.compose(), spec, image_chance(spec, Stream.EXPOSURE))
    return Rendered(pixels, Shown(tuple(canvas.boxes), canvas.has_device))


def _lesion_chance(spec: RadiographSpec, lesion: Lesion) -> Chance:
    """A lesion stays in its place over a patient's follow-ups."""
    return patient_chance(spec, Stream.LESION, FINDINGS.index(lesion.finding))


def _reshaped_anatomy(spec: RadiographSpec) -> Anatomy:
    anatomy = build_anatomy(spec)
    for lesion in spec.lesions:
        if lesion.finding in RESHAPERS:
            reshape = RESHAPERS[lesion.finding]
            anatomy = reshape(anatomy, lesion.severity, _lesion_chance(spec, lesion))
    return anatomy


def _paint_normal(canvas: Canvas, spec: RadiographSpec) -> None:
    passing = image_chance(spec, Stream.TEXTURE)
    paint_soft_tissue(canvas, passing)
    paint_skeleton(canvas)
    paint_vessels(canvas, patient_chance(spec, Stream.VESSELS))
    paint_lasting_confusers(canvas, patient_chance(spec, Stream.CONFUSERS))
    paint_passing_confusers(canvas, passing, portable=spec.view == "AP")
    if spec.view == "AP":
        paint_poor_inspiration(canvas, passing)


def expose(density: Field, spec: RadiographSpec, chance: Chance) -> Pixels:
    """The finished radiograph; AP ones are flatter and grayer."""
    portable, machine = spec.view == "AP", spec.machine
    levels = np.linspace(0, _DENSEST, _STEPS, dtype=np.float32)
    curve = _characteristic_curve(levels, machine, chance, portable=portable) * _GRAY_LEVELS
    graininess = float(chance.uniform(*machine.grain)) * np.sqrt(np.minimum(levels, 1))
    steps = np.clip(density * ((_STEPS - 1) / _DENSEST), 0, _STEPS - 1).astype(np.uint16)
    grain = _grain(density.shape, chance)
    gray = curve[steps] + graininess[steps] * grain
    pixels = np.clip(gray, 0, _GRAY_LEVELS).astype(np.uint8)
    _collimate(pixels, machine, chance)
    return _mark(pixels, chance, portable=portable)


def _grain(shape: tuple[int, ...], chance: Chance) -> Field:
    """Noise of unit deviation: the sum of three random bytes is near enough to normal."""
    noise = np.frombuffer(chance.bytes(3 * int(np.prod(shape))), np.uint8)
    total = noise.reshape(3, *shape).sum(axis=0, dtype=np.uint16)
    # One random byte has the mean 127.5 and the deviation 73.9.
    return np.asarray((total.astype(np.float32) - 382.5) / (73.9 * 3**0.5), np.float32)


def _characteristic_curve(
    levels: Field, machine: Machine, chance: Chance, *, portable: bool
) -> Field:
    gamma = float(chance.uniform(*machine.gamma)) - 0.1 * portable
    gain = float(chance.normal(machine.gain, 0.07)) - 0.04 * portable
    fog = float(chance.uniform(*machine.fog)) + 0.05 * portable
    gray = fog + gain * levels**gamma
    # Film shoulder: the brightest parts are compressed, not cut.
    shoulder = 0.75 + 0.22 * np.tanh((gray - 0.75) / 0.22)
    return np.asarray(np.where(gray > 0.75, shoulder, gray), np.float32)


def _collimate(pixels: Pixels, machine: Machine, chance: Chance) -> None:
    """Black borders where the beam was cut, on some radiographs."""
    size = pixels.shape[0]
    margins = chance.uniform(0, machine.margin, 4) * size
    margins = (margins * (chance.uniform(size=4) < machine.collimated)).astype(int)
    top, bottom, left, right = (int(margin) for margin in margins)
    pixels[:top] = 0
    pixels[size - bottom :] = 0
    pixels[:, :left] = 0
    pixels[:, size - right :] = 0


def _mark(pixels: Pixels, chance: Chance, *, portable: bool) -> Pixels:
    """A lead letter near an upper corner: L on the reader's right."""
    size = pixels.shape[0]
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(6, size // 20))
    letter, corner = ("L", 0.88) if chance.uniform() < 0.8 else ("R", 0.06)
    across, down = corner + float(chance.uniform(-0.03, 0.03)), float(chance.uniform(0.03, 0.12))
    draw.text((across * size, down * size), letter, fill=245, font=font)
    if portable and chance.uniform() < 0.6:
        draw.text((0.08 * size, 0.03 * size), "PORTABLE", fill=225, font=font)
    return np.array(image)

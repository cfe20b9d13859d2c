"""From density to gray levels: exposure, grain, collimation and the burnt-in marker."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deepchest_cli.data.synthetic.specification import Field, Picture, RadiographSpec

_GREY_LEVELS = 255
# The curve from density to gray is tabulated: densities 0 to 2 in fine steps.
_DENSEST, _STEPS = 2.0, 4096


def expose(density: Field, spec: RadiographSpec, chance: np.random.Generator) -> Picture:
    """The finished picture; AP pictures are flatter and grayer."""
    portable = spec.view == "AP"
    levels = np.linspace(0, _DENSEST, _STEPS, dtype=np.float32)
    curve = _characteristic_curve(levels, chance, portable=portable) * _GREY_LEVELS
    graininess = float(chance.uniform(0.8, 1.8)) * np.sqrt(np.minimum(levels, 1))
    steps = np.clip(density * ((_STEPS - 1) / _DENSEST), 0, _STEPS - 1).astype(np.uint16)
    grain = _grain(density.shape, chance)
    gray = curve[steps] + graininess[steps] * grain
    picture = np.clip(gray, 0, _GREY_LEVELS).astype(np.uint8)
    _collimate(picture, chance)
    return _mark(picture, chance, portable=portable)


def _grain(shape: tuple[int, ...], chance: np.random.Generator) -> Field:
    """Noise of unit deviation: the sum of three random bytes is near enough to normal."""
    noise = np.frombuffer(chance.bytes(3 * int(np.prod(shape))), np.uint8)
    total = noise.reshape(3, *shape).sum(axis=0, dtype=np.uint16)
    # One random byte has the mean 127.5 and the deviation 73.9.
    return np.asarray((total.astype(np.float32) - 382.5) / (73.9 * 3**0.5), np.float32)


def _characteristic_curve(levels: Field, chance: np.random.Generator, *, portable: bool) -> Field:
    """Gray (0 to 1) for each density level."""
    gamma = float(chance.uniform(0.85, 1.25)) - 0.1 * portable
    gain = float(chance.normal(1.12, 0.07)) - 0.04 * portable
    fog = float(chance.uniform(0.0, 0.05)) + 0.05 * portable
    gray = fog + gain * levels**gamma
    # Film shoulder: the brightest parts are compressed, not cut.
    shoulder = 0.75 + 0.22 * np.tanh((gray - 0.75) / 0.22)
    return np.asarray(np.where(gray > 0.75, shoulder, gray), np.float32)


def _collimate(picture: Picture, chance: np.random.Generator) -> None:
    """Black borders where the beam was cut, on some pictures."""
    size = picture.shape[0]
    margins = (chance.uniform(0, 0.05, 4) * size * (chance.uniform(size=4) < 0.2)).astype(int)
    top, bottom, left, right = (int(margin) for margin in margins)
    picture[:top] = 0
    picture[size - bottom :] = 0
    picture[:, :left] = 0
    picture[:, size - right :] = 0


def _mark(picture: Picture, chance: np.random.Generator, *, portable: bool) -> Picture:
    """A lead letter near an upper corner: L on the reader's right."""
    size = picture.shape[0]
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(6, size // 20))
    letter, corner = ("L", 0.88) if chance.uniform() < 0.8 else ("R", 0.06)
    across, down = corner + float(chance.uniform(-0.03, 0.03)), float(chance.uniform(0.03, 0.12))
    draw.text((across * size, down * size), letter, fill=245, font=font)
    if portable and chance.uniform() < 0.6:
        draw.text((0.08 * size, 0.03 * size), "PORTABLE", fill=225, font=font)
    return np.array(image)

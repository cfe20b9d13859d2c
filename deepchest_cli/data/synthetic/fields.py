"""Soft-edged shapes and smooth random textures on coordinate grids."""

import math

import numpy as np
from PIL import Image

from deepchest_cli.data.synthetic.specification import Chance, Field


def step(distance: Field, softness: float) -> Field:
    """Smooth 0-to-1 edge: 0.5 at distance 0, saturated at half the softness either side."""
    ramp = np.clip(distance / softness + 0.5, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def blob(x: Field, y: Field, center: tuple[float, float], radius: tuple[float, float]) -> Field:
    """Gaussian patch; radius is one standard deviation along x and y."""
    dx, dy = (x - center[0]) / radius[0], (y - center[1]) / radius[1]
    return np.asarray(np.exp(-0.5 * (dx * dx + dy * dy)), np.float32)


def ellipse(
    x: Field,
    y: Field,
    center: tuple[float, float],
    radius: tuple[float, float],
    *,
    tilt: float = 0.0,
    softness: float = 0.1,
) -> Field:
    """Soft-edged ellipse; tilt in radians, softness relative to the radius."""
    cosine, sine = math.cos(tilt), math.sin(tilt)
    dx, dy = x - center[0], y - center[1]
    along = (cosine * dx + sine * dy) / radius[0]
    across = (cosine * dy - sine * dx) / radius[1]
    return step(1 - np.sqrt(along * along + across * across), softness)


def texture(chance: Chance, cells: int, size: int) -> Field:
    """Smooth random field of about unit deviation, (size, size), with `cells` cells a side."""
    coarse = chance.standard_normal((cells, cells), dtype=np.float32) * 1.4
    resized = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.array(resized, np.float32)


def enlarge(field: Field) -> Field:
    """The field at twice its size, interpolated linearly."""
    return _double_rows(_double_rows(field).T).T


def _double_rows(field: Field) -> Field:
    # Each new row lies a quarter of the way from its own old row to the next one.
    quarter = np.ascontiguousarray(field) * np.float32(0.25)
    doubled = np.repeat(3 * quarter, 2, axis=0)
    doubled[2::2] += quarter[:-1]
    doubled[1:-1:2] += quarter[1:]
    doubled[[0, -1]] += quarter[[0, -1]]
    return doubled


def soften(field: Field) -> Field:
    """Blurred by about a pixel; the outermost rows and columns stay."""
    blurred = field.copy()
    blurred[1:-1] += 0.25 * (field[:-2] - 2 * field[1:-1] + field[2:])
    softened = blurred.copy()
    softened[:, 1:-1] += 0.25 * (blurred[:, :-2] - 2 * blurred[:, 1:-1] + blurred[:, 2:])
    return softened


def between(low: float, high: float, fraction: float) -> float:
    """Linear interpolation."""
    return low + (high - low) * fraction

"""A radiograph and beside it the same under a map, with a legend."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float64]
INK, FAINT, PAPER = "#222222", "#666666", "#ffffff"
OPACITY = 0.55  # of the highest value: what lies below stays to be seen
LEAST_TEXT, MOST_TEXT = 12, 40  # pixels
WRITING = 1 / 42  # of the width of both pictures


@dataclass(frozen=True)
class Legend:
    """What stands below the pictures."""

    finding: str
    probability: float
    threshold: float  # NaN where there is none
    method: str  # with the meaning of its colors
    name: str  # of the image's file

    @property
    def lines(self) -> tuple[str, str, str]:
        """What is shown, how sure the model is, and what the colors are."""
        cut = "" if math.isnan(self.threshold) else f", flagged from {self.threshold:.3f}"
        return (
            f"{self.finding}: probability {self.probability:.3f}{cut}",
            self.method,
            f"{self.name}; for research, not for clinical use",
        )


def draw_beside(image: Image.Image, values: Floats, legend: Legend) -> Image.Image:
    """Return a picture (mode L) and the same under `values` (H, W) from 0 to 1, at full size."""
    width, height = image.size
    size = round(min(max(2 * width * WRITING, LEAST_TEXT), MOST_TEXT))
    font = ImageFont.load_default(size)
    gap = max(4, size // 2)
    longest = max(font.getlength(line) for line in legend.lines)
    bar = 8 * size
    across = max(2 * width + gap, math.ceil(longest) + bar + 3 * gap)
    sheet = Image.new("RGB", (across, height + 2 * gap + 4 * size), PAPER)
    sheet.paste(image.convert("RGB"), (0, 0))
    sheet.paste(Image.fromarray(blend(np.asarray(image), values)), (width + gap, 0))
    draw = ImageDraw.Draw(sheet)
    _color_bar(sheet, draw, (gap, height + gap), (bar, size), font)
    for number, line in enumerate(legend.lines):
        place = (bar + 2 * gap, height + gap + round(1.35 * number * size))
        draw.text(place, line, FAINT if number else INK, font)
    return sheet


def blend(gray: NDArray[np.uint8], values: Floats) -> NDArray[np.uint8]:
    """Return gray values (H, W) under the colors of `values` (H, W): (H, W, 3)."""
    opacity = (OPACITY * values)[..., None].astype(np.float32)
    base = np.repeat(gray[..., None], 3, axis=2).astype(np.float32)
    mixed = base * (1 - opacity) + colors(values).astype(np.float32) * opacity
    return np.asarray(np.rint(mixed), dtype=np.uint8)


def colors(values: Floats) -> Floats:
    """Return yellow for low and red for high values: (..., 3), from 0 to 255."""
    green = 220 * (1 - values)
    return np.stack([np.full_like(values, 255.0), green, np.zeros_like(values)], axis=-1)


def _color_bar(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    size: tuple[int, int],
    font: "ImageFont.FreeTypeFont | ImageFont.ImageFont",
) -> None:
    """Draw the colors over middle gray, with their meaning below."""
    width, height = size
    steps = np.tile(np.linspace(0, 1, width), (height, 1))
    sheet.paste(Image.fromarray(blend(np.full((height, width), 110, np.uint8), steps)), place)
    below = place[1] + round(1.15 * height)
    draw.text((place[0], below), "none", FAINT, font)
    draw.text((place[0] + width, below), "most", FAINT, font, anchor="ra")

"""Thin structures: lines and outlines drawn at twice the picture's size, then reduced."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from deepchest_cli.data.synthetic.positioning import Positioning
from deepchest_cli.data.synthetic.specification import Curves, Field, Numbers, Point

_OVERSAMPLING = 2


class StrokeLayer:
    """A sheet of lines given in body coordinates; strengths run from 0 to 1."""

    def __init__(self, size: int, positioning: Positioning) -> None:
        self._size = size * _OVERSAMPLING
        self._positioning = positioning
        self._sheet = Image.new("L", (self._size, self._size))
        self._draw = ImageDraw.Draw(self._sheet)
        self.empty = True

    def line(self, points: Sequence[Point], width: float, strength: float) -> None:
        """An open polyline; width as a fraction of the frame."""
        self.lines(np.array([points]), np.array([width]), np.array([strength]))

    def lines(self, courses: Curves, widths: Numbers, strengths: Numbers) -> None:
        """Several polylines, (lines, points, 2), each with its own width and strength."""
        pixels = np.maximum(np.rint(widths * self._size), 1).astype(int).tolist()
        for flat, width, level in zip(
            self._placed(courses), pixels, _levels(strengths), strict=True
        ):
            self._draw.line(flat, fill=level, width=width)
        self.empty = False

    def area(self, points: Sequence[Point], strength: float) -> None:
        """A filled polygon."""
        (flat,) = self._placed(np.array([points]))
        self._draw.polygon(flat, fill=_levels(np.array([strength]))[0])
        self.empty = False

    def field(self) -> Field:
        """The sheet as (size, size) values of 0 to 1."""
        reduced = self._sheet.reduce(_OVERSAMPLING)
        return np.asarray(reduced, np.float32) / np.float32(255)

    def _placed(self, courses: Curves) -> list[list[float]]:
        """Pixel positions, one flat x, y, x, y list a line."""
        placed = self._positioning.place_all(courses) * self._size
        flat: list[list[float]] = placed.reshape(len(courses), -1).tolist()
        return flat


def _levels(strengths: Numbers) -> list[int]:
    levels: list[int] = np.rint(255 * np.clip(strengths, 0, 1)).astype(int).tolist()
    return levels

"""How the patient stands before the plate: a small rotation, shift and magnification."""

import math
from dataclasses import dataclass

import numpy as np

from deepchest_cli.data.synthetic.specification import (
    Box,
    Curves,
    Field,
    Point,
    RadiographSpec,
    Stream,
    image_chance,
)


@dataclass(frozen=True, slots=True)
class Positioning:
    """Maps the body frame onto the picture, both 0 to 1; turn in radians."""

    turn: float
    scale: float
    shift: Point

    def grids(self, size: int) -> tuple[Field, Field]:
        """Body coordinates (x, y) of every pixel, each (size, size)."""
        axis = (np.arange(size, dtype=np.float32) + 0.5) / size
        across = (axis - 0.5 - self.shift[0])[None, :] / self.scale
        down = (axis - 0.5 - self.shift[1])[:, None] / self.scale
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        x = cosine * across + sine * down + 0.5
        y = cosine * down - sine * across + 0.5
        return np.asarray(x, np.float32), np.asarray(y, np.float32)

    def place_all(self, points: Curves) -> Curves:
        """Where points of the body, (..., 2), fall on the picture."""
        cosine, sine = self.scale * math.cos(self.turn), self.scale * math.sin(self.turn)
        turning = np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray((points - 0.5) @ turning + 0.5 + np.array(self.shift), np.float64)

    def box(self, finding: str, low: Point, high: Point) -> Box:
        """The upright box on the picture around a rectangle of the body."""
        corners = [(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]
        placed = np.clip(self.place_all(np.array(corners)), 0, 1)
        (left, top), (right, bottom) = placed.min(axis=0).tolist(), placed.max(axis=0).tolist()
        return Box(finding, left, top, right - left, bottom - top)


def choose_positioning(spec: RadiographSpec) -> Positioning:
    """Portable AP pictures are placed less carefully."""
    chance = image_chance(spec, Stream.POSITION)
    spread = 1.0 if spec.view == "PA" else 1.6
    turn, across, down = (float(value) for value in chance.normal(0, spread, 3))
    return Positioning(
        turn=0.018 * turn,
        scale=float(chance.uniform(1.0, 1.13)),
        shift=(0.012 * across, 0.014 * down),
    )

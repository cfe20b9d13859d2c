"""The sheet that anatomy and findings are painted on, and how the patient stands before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from deepchest_cli.data.synthetic.anatomy import MIDLINE, Anatomy
from deepchest_cli.data.synthetic.fields import enlarge, soften, step
from deepchest_cli.data.synthetic.specification import (
    LEFT,
    RIGHT,
    Box,
    Curves,
    Field,
    Numbers,
    Point,
    RadiographSpec,
    Stream,
    image_chance,
)

_OVERSAMPLING = 2
_LUNG_EDGE = 0.014


@dataclass(frozen=True, slots=True)
class Positioning:
    """Maps the body frame onto the image, both 0 to 1; turn in radians."""

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
        """Where points of the body, (..., 2), fall on the image."""
        cosine, sine = self.scale * math.cos(self.turn), self.scale * math.sin(self.turn)
        turning = np.array([[cosine, sine], [-sine, cosine]])
        return np.asarray((points - 0.5) @ turning + 0.5 + np.array(self.shift), np.float64)

    def box(self, finding: str, low: Point, high: Point) -> Box:
        """The upright box on the image around a rectangle of the body."""
        corners = [(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])]
        placed = np.clip(self.place_all(np.array(corners)), 0, 1)
        (left, top), (right, bottom) = placed.min(axis=0).tolist(), placed.max(axis=0).tolist()
        return Box(finding, left, top, right - left, bottom - top)


def choose_positioning(spec: RadiographSpec) -> Positioning:
    """Portable AP images are placed less carefully."""
    chance = image_chance(spec, Stream.POSITION)
    spread = 1.0 if spec.view == "PA" else 1.6
    turn, across, down = (float(value) for value in chance.normal(0, spread, 3))
    scale = float(chance.uniform(*spec.machine.magnification))
    return Positioning(0.018 * turn, scale, (0.012 * across, 0.014 * down))


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
        lines = zip(self._placed(courses), pixels, _levels(strengths), strict=True)
        for flat, width, level in lines:
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


class Canvas:
    """Smooth fields at half the image's (even) size, strokes at full size; density is white."""

    def __init__(self, size: int, anatomy: Anatomy, positioning: Positioning) -> None:
        self.size = size
        self.grid = size // 2
        self.anatomy = anatomy
        self.positioning = positioning
        self.x, self.y = positioning.grids(self.grid)
        self.from_midline = np.abs(self.x - MIDLINE)
        self.side = np.where(self.x < MIDLINE, RIGHT, LEFT).astype(np.float32)
        self.below_diaphragm = self._below_diaphragm()
        self.lungs = self._lungs()
        self.density = np.zeros_like(self.x)
        self.vessel_gain = np.ones_like(self.x)
        self.bones = StrokeLayer(size, positioning)
        self.vessels = StrokeLayer(size, positioning)
        self.bright = StrokeLayer(size, positioning)
        self.dark = StrokeLayer(size, positioning)
        self.boxes: list[Box] = []
        self.has_device = False

    def lung(self, side: int) -> Field:
        """One lung's soft mask."""
        return np.asarray(self.lungs * (self.side == side), np.float32)

    def add(self, mask: Field, strength: float) -> None:
        """Whiten (or, below zero, darken) where the mask is."""
        self.density += strength * mask

    def box(self, finding: str, low: tuple[float, float], high: tuple[float, float]) -> None:
        """Note where a finding lies, in body coordinates."""
        self.boxes.append(self.positioning.box(finding, low, high))

    def compose(self) -> Field:
        """All layers as one (size, size) density."""
        gain = enlarge(self.vessel_gain * self.lungs)
        # Against the lungs' air bones stand out; in the abdomen they drown.
        seen = enlarge(0.4 + 0.6 * step(-self.below_diaphragm, 0.1))
        density = enlarge(self.density)
        density += self.anatomy.bone * seen * self.bones.field()
        density += 0.2 * gain * self.vessels.field()
        if not self.bright.empty:
            density += 0.4 * self.bright.field()
        if not self.dark.empty:
            density -= 0.3 * self.dark.field()
        # An X-ray tube's focal spot is no point.
        return soften(density)

    def _below_diaphragm(self) -> Field:
        right, left = (self.anatomy.diaphragm_at(self.from_midline, side) for side in (RIGHT, LEFT))
        # Under the heart the two domes run into each other.
        blend = step(self.x - MIDLINE, 0.16)
        return np.asarray(self.y - right - blend * (left - right), np.float32)

    def _lungs(self) -> Field:
        anatomy = self.anatomy
        inside_wall = step(anatomy.wall_at(self.y) - self.from_midline, _LUNG_EDGE)
        # The cupola is round: toward the neck the lung begins lower.
        cupola = anatomy.apex + 2.5 * np.clip(0.13 - self.from_midline, 0, 1) ** 2
        above = step(-self.below_diaphragm, _LUNG_EDGE)
        return np.asarray(inside_wall * above * step(self.y - cupola, 0.03), np.float32)

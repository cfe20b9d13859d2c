"""The sheet that anatomy and findings are painted on."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE, Anatomy
from deepchest_cli.data.synthetic.fields import enlarge, soften, step
from deepchest_cli.data.synthetic.positioning import Positioning
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Box, Field
from deepchest_cli.data.synthetic.strokes import StrokeLayer

_LUNG_EDGE = 0.014


class Canvas:
    """Smooth fields at half the picture's (even) size, strokes at full size; density is white."""

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

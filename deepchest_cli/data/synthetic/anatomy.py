"""A patient's build: where lungs, heart and diaphragm lie, and how findings change it.

The body frame is square, y points down; 0.7 of it is about 28 cm of thorax.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from deepchest_cli.data.synthetic.fields import between
from deepchest_cli.data.synthetic.specification import (
    LEFT,
    RIGHT,
    Chance,
    Field,
    Point,
    RadiographSpec,
    Stream,
    image_chance,
    patient_chance,
)

MIDLINE = 0.5


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Lengths are fractions of the frame; `heart` is half the heart's long axis."""

    apex: float
    base: float
    half_width: float
    dome_depth: float
    left_dome_drop: float
    raised: tuple[float, float]
    heart: float
    heart_tilt: float
    mediastinum: float
    mediastinal_shift: float
    aortic_knob: float
    hilum: float
    wall: float
    shoulder: float
    breast: float
    rib_slope: float
    rib_gap: float
    lung_air: float
    bone: float

    def wall_at(self, y: Field) -> Field:
        """Distance from the midline to the inner chest wall at height y."""
        depth = np.clip((y - self.apex) / (self.base + self.dome_depth - self.apex), 0, 1)
        return np.asarray(self.half_width * np.sqrt(1 - (1 - depth) ** 3.2), np.float32)

    def dome(self, side: int) -> float:
        """Height of the top of one hemidiaphragm."""
        drop = self.left_dome_drop if side == LEFT else 0.0
        return self.base + drop - self.raised[side == LEFT]

    def angle(self, side: int) -> float:
        """Height of one costophrenic angle; a raised dome leaves its angle in place."""
        return self.dome(side) + self.dome_depth + 0.5 * self.raised[side == LEFT]

    def diaphragm_at(self, from_midline: Field, side: int) -> Field:
        """Height of one hemidiaphragm at a distance from the midline."""
        crest = 0.5 * self.half_width
        outward = np.clip((from_midline - crest) / (self.half_width - crest), 0, 1.5) ** 2
        inward = np.clip((crest - from_midline) / crest, 0, 1) ** 2
        top, angle = self.dome(side), self.angle(side)
        return np.asarray(top + (angle - top) * (outward + 0.35 * inward), np.float32)

    @property
    def heart_center(self) -> tuple[float, float]:
        """Two thirds of the heart lie to the patient's left of the midline."""
        across = MIDLINE + 0.28 * self.heart + self.mediastinal_shift
        return across, self.base - 0.42 * self.heart

    def hilum_at(self, side: int) -> tuple[float, float]:
        """Center of one hilum; the left one is a little higher."""
        height = self.apex + 0.44 * (self.base - self.apex) - 0.012 * side
        return MIDLINE + self.mediastinal_shift + side * (self.mediastinum + 0.035), height


def build_anatomy(spec: RadiographSpec) -> Anatomy:
    """The patient's own build, as this view and this breath show it."""
    anatomy = _habitus(spec)
    breath = image_chance(spec, Stream.POSITION).normal(0, 0.012)
    if spec.view == "PA":
        return replace(anatomy, base=anatomy.base + breath)
    # Supine and nearer to the tube: a magnified heart, a shallow breath, high diaphragms.
    return replace(
        anatomy,
        base=anatomy.base - 0.04 + 1.5 * breath,
        heart=anatomy.heart * 1.08,
        mediastinum=anatomy.mediastinum * 1.12,
        shoulder=anatomy.shoulder + 0.03,
        lung_air=anatomy.lung_air * 0.93,
    )


def _habitus(spec: RadiographSpec) -> Anatomy:
    chance = patient_chance(spec, Stream.HABITUS)
    female = spec.sex == "F"
    half_width = float(chance.normal(0.345, 0.014)) - 0.012 * female
    ratio = float(np.clip(chance.normal(0.425 + 0.0004 * (spec.age - 50), 0.022), 0.36, 0.49))
    stout = float(chance.uniform())
    return Anatomy(
        apex=float(chance.normal(0.105, 0.012)),
        base=float(chance.normal(0.755, 0.022)) - 0.03 * stout,
        half_width=half_width,
        dome_depth=float(chance.uniform(0.07, 0.1)),
        left_dome_drop=float(chance.normal(0.018, 0.007)),
        raised=(0.0, 0.0),
        heart=heart_axis(ratio, half_width),
        heart_tilt=float(chance.uniform(0.5, 0.8)) - 0.15 * stout,
        mediastinum=float(chance.normal(0.058, 0.005)) + 0.008 * stout,
        mediastinal_shift=float(chance.normal(0, 0.004)),
        aortic_knob=float(chance.uniform(0.012, 0.024)) + 0.0002 * max(spec.age - 40, 0),
        hilum=float(chance.uniform(0.7, 1.4)),
        wall=between(0.035, 0.1, stout) + float(chance.uniform(0, 0.015)),
        shoulder=float(chance.uniform(0.46, 0.56)),
        breast=float(chance.uniform(0.45, 1.0)) if female else 0.15 * stout,
        rib_slope=float(chance.uniform(0.05, 0.12)),
        rib_gap=float(chance.normal(0.072, 0.003)),
        lung_air=float(chance.normal(0.4, 0.018)) - 0.05 * stout,
        bone=float(chance.normal(0.115, 0.015)) - 0.0003 * max(spec.age - 50, 0),
    )


def heart_axis(cardiothoracic_ratio: float, half_width: float) -> float:
    """Half the heart's long axis that gives the ratio of heart to thorax width."""
    # The tilted ellipse of the heart is about 1.8 half-axes wide.
    return cardiothoracic_ratio * 2 * half_width / 1.8


def choose_side(chance: Chance) -> int:
    """Always the first draw of a lesion, so that reshaping and painting agree."""
    return LEFT if chance.uniform() < 0.5 else RIGHT


def place_in_lung(anatomy: Anatomy, side: int, across: float, height: float) -> Point:
    """From fractions: across 0 at the mediastinum, 1 at the wall; height 0 apex, 1 dome."""
    y = anatomy.apex + height * (anatomy.dome(side) - anatomy.apex)
    wall = float(anatomy.wall_at(np.asarray(y, np.float32)))
    inner = anatomy.mediastinum + 0.01
    return MIDLINE + side * (inner + across * (wall - inner)), y


def choose_place(
    anatomy: Anatomy,
    side: int,
    chance: Chance,
    *,
    across: tuple[float, float] = (0.15, 0.85),
    height: tuple[float, float] = (0.15, 0.9),
) -> Point:
    """A random place in one lung, within ranges of those fractions."""
    place = (float(chance.uniform(*across)), float(chance.uniform(*height)))
    return place_in_lung(anatomy, side, *place)


Reshaper = Callable[[Anatomy, float, Chance], Anatomy]


def _enlarge_heart(anatomy: Anatomy, severity: float, chance: Chance) -> Anatomy:
    """More than half of the thorax; 0.49 is the widest heart that is drawn as normal."""
    ratio = between(0.505, 0.62, severity)
    heart = max(anatomy.heart, heart_axis(ratio, anatomy.half_width))
    return replace(anatomy, heart=heart, heart_tilt=anatomy.heart_tilt - 0.1)


def _inflate(anatomy: Anatomy, severity: float, chance: Chance) -> Anatomy:
    return replace(
        anatomy,
        base=anatomy.base + between(0.015, 0.075, severity),
        dome_depth=anatomy.dome_depth * between(0.6, 0.15, severity),
        half_width=anatomy.half_width + between(0.005, 0.02, severity),
        heart=anatomy.heart * between(0.94, 0.76, severity),
        lung_air=anatomy.lung_air + between(0.005, 0.055, severity),
        rib_slope=anatomy.rib_slope * 0.6,
    )


def _lose_volume(anatomy: Anatomy, severity: float, chance: Chance) -> Anatomy:
    """The collapsed side draws its hemidiaphragm up and the mediastinum over."""
    side = choose_side(chance)
    elevation = between(0.015, 0.06, severity)
    raised = (elevation, 0.0) if side == RIGHT else (0.0, elevation)
    shift = anatomy.mediastinal_shift + side * between(0.003, 0.02, severity)
    return replace(anatomy, raised=raised, mediastinal_shift=shift)


def _displace(anatomy: Anatomy, severity: float, chance: Chance) -> Anatomy:
    """A large pneumothorax pushes the mediastinum to the other side."""
    push = choose_side(chance) * between(0.0, 0.02, severity)
    return replace(anatomy, mediastinal_shift=anatomy.mediastinal_shift - push)


def _congest(anatomy: Anatomy, severity: float, chance: Chance) -> Anatomy:
    """The heart of a patient in edema is often, but not always, enlarged."""
    return replace(anatomy, heart=anatomy.heart * float(chance.uniform(0.98, 1.1)))


RESHAPERS: dict[str, Reshaper] = {
    "Cardiomegaly": _enlarge_heart,
    "Emphysema": _inflate,
    "Atelectasis": _lose_volume,
    "Pneumothorax": _displace,
    "Edema": _congest,
}

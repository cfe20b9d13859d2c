"""Findings that change the build itself: heart size, inflation, volume loss."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deepchest_cli.data.synthetic.anatomy import Anatomy, heart_axis
from deepchest_cli.data.synthetic.fields import between
from deepchest_cli.data.synthetic.lesions import choose_side
from deepchest_cli.data.synthetic.specification import RIGHT

Reshaper = Callable[[Anatomy, float, np.random.Generator], Anatomy]


def _enlarge_heart(anatomy: Anatomy, severity: float, chance: np.random.Generator) -> Anatomy:
    """More than half of the thorax; 0.49 is the widest heart that is drawn as normal."""
    ratio = between(0.505, 0.62, severity)
    heart = max(anatomy.heart, heart_axis(ratio, anatomy.half_width))
    return replace(anatomy, heart=heart, heart_tilt=anatomy.heart_tilt - 0.1)


def _inflate(anatomy: Anatomy, severity: float, chance: np.random.Generator) -> Anatomy:
    return replace(
        anatomy,
        base=anatomy.base + between(0.015, 0.075, severity),
        dome_depth=anatomy.dome_depth * between(0.6, 0.15, severity),
        half_width=anatomy.half_width + between(0.005, 0.02, severity),
        heart=anatomy.heart * between(0.94, 0.76, severity),
        lung_air=anatomy.lung_air + between(0.005, 0.055, severity),
        rib_slope=anatomy.rib_slope * 0.6,
    )


def _lose_volume(anatomy: Anatomy, severity: float, chance: np.random.Generator) -> Anatomy:
    """The collapsed side draws its hemidiaphragm up and the mediastinum over."""
    side = choose_side(chance)
    ap_over_prevalence = between(0.015, 0.06, severity)
    raised = (ap_over_prevalence, 0.0) if side == RIGHT else (0.0, ap_over_prevalence)
    shift = anatomy.mediastinal_shift + side * between(0.003, 0.02, severity)
    return replace(anatomy, raised=raised, mediastinal_shift=shift)


def _displace(anatomy: Anatomy, severity: float, chance: np.random.Generator) -> Anatomy:
    """A large pneumothorax pushes the mediastinum to the other side."""
    push = between(0.0, 0.02, severity)
    return replace(
        anatomy, mediastinal_shift=anatomy.mediastinal_shift - choose_side(chance) * push
    )


def _congest(anatomy: Anatomy, severity: float, chance: np.random.Generator) -> Anatomy:
    """The heart of a patient in edema is often, but not always, enlarged."""
    return replace(anatomy, heart=anatomy.heart * float(chance.uniform(0.98, 1.1)))


RESHAPERS: dict[str, Reshaper] = {
    "Cardiomegaly": _enlarge_heart,
    "Emphysema": _inflate,
    "Atelectasis": _lose_volume,
    "Pneumothorax": _displace,
    "Edema": _congest,
}

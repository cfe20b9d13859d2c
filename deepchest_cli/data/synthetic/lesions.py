"""Where lesions sit: sides, zones and places in the lungs."""

import numpy as np

from deepchest_cli.data.synthetic.anatomy import MIDLINE, Anatomy
from deepchest_cli.data.synthetic.specification import LEFT, RIGHT, Point


def choose_side(chance: np.random.Generator) -> int:
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
    chance: np.random.Generator,
    *,
    across: tuple[float, float] = (0.15, 0.85),
    height: tuple[float, float] = (0.15, 0.9),
) -> Point:
    """A random place in one lung, within ranges of those fractions."""
    return place_in_lung(
        anatomy, side, float(chance.uniform(*across)), float(chance.uniform(*height))
    )

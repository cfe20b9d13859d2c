"""How a map is scored against a box: the pointing game, IoU and IoBB.

The middle of a map's highest cell points (Zhang et al. 2018; no tolerance). Enlarged to the stored
image, its region is the connected part around the peak at or above half of the map's range; the
region's bounding box is compared with NIH's: IoU, and IoBB, the intersection over the predicted box
(Wang et al. 2017).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from deepchest_cli.evaluation.metrics import Floats

LEVEL = 0.5  # of the map's range
IOU_LEVELS = (0.1, 0.3, 0.5)
IOBB_LEVELS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class BoxScore:
    """How one map did against one box."""

    hit: bool
    iou: float
    iobb: float


MISS = BoxScore(False, 0.0, 0.0)  # of a map that is the same everywhere


def score_map(cells: Floats, values: Floats, box: Floats) -> BoxScore:
    """Return the scores of a map against a box.

    cells: (h, w), the map; values: (S, S), the same enlarged; box: (4,), x, y, width, height in
    pixels of the latter.
    """
    least, most = values.min(), values.max()
    if not cells.max() > cells.min():
        return MISS
    row, column = _peak(cells, len(values))
    x, y, width, height = box
    hit = x <= column <= x + width and y <= row <= y + height
    found = _region(values >= least + LEVEL * (most - least), (int(row), int(column)))
    return BoxScore(bool(hit), *_overlap(found, box))


def _peak(cells: Floats, size: int) -> tuple[float, float]:
    """Return the middle of the highest cell, in pixels: row and column."""
    # enlarged, a cell at the edge is level up to the edge, and has no single highest pixel
    place = np.unravel_index(int(cells.argmax()), cells.shape)
    row, column = ((int(i) + 0.5) * size / n for i, n in zip(place, cells.shape, strict=True))
    return row, column


def _region(above: NDArray[np.bool_], peak: tuple[int, int]) -> Floats:
    """Return the bounding box (4,) of the connected part that holds the peak."""
    parts, _ = ndimage.label(above)
    # where the pixel of the peak is not above, by a corner of the grid, the largest part is
    chosen = parts[peak] or int(np.bincount(parts[parts > 0]).argmax())
    rows, columns = ndimage.find_objects((parts == chosen).astype(np.int8))[0]
    width, height = columns.stop - columns.start, rows.stop - rows.start
    return np.array([columns.start, rows.start, width, height], dtype=np.float64)


def _overlap(one: Floats, other: Floats) -> tuple[float, float]:
    ends = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    sides = np.clip(ends - np.maximum(one[:2], other[:2]), 0, None)
    shared, mine, theirs = sides.prod(), one[2:].prod(), other[2:].prod()
    return float(shared / (mine + theirs - shared)), float(shared / mine)

"""Localization against the boxes of NIH's radiologists; official test split only.

All 984 boxes lie in NIH's official test list: under another split, models are trained on some of
them. Two random baselines stand beside each map: the share of the image that the box covers, and
maps of noise with as many cells.

In the pointing game a map hits where the middle of its highest cell lies in the box (Zhang et al.
2018; no tolerance). Enlarged to the stored image, its region is the connected component around the
peak at or above half of the map's range; the region's bounding box is compared with NIH's: IoU, and
IoBB, the intersection over the predicted box (Wang et al. 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.evaluation.bootstrap import Resampling, ratios_with_intervals
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.model.attribution import Maps, attribution_maps
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.model.spatial import coarse_note, spatial_layer

GRAD_CAM, CAM, RANDOM = "grad_cam", "cam", "random"
BATCH = 16
SEED = 0  # of the maps of noise
REGION_LEVEL = 0.5  # of the map's range
IOU_LEVELS = (0.1, 0.3, 0.5)
IOBB_LEVELS = (0.1, 0.25, 0.5)
ONE_MODEL = "Maps are those of one model."


@dataclass(frozen=True)
class BoxScore:
    """The score of one map against one box."""

    hit: bool
    iou: float
    iobb: float


@dataclass(frozen=True)
class ScoredBoxes:
    """B boxes of scored images."""

    places: NDArray[np.int64]  # (B,), among the scored rows
    findings: NDArray[np.str_]  # (B,)
    corners: Floats  # (B, 4), x, y, width, height in stored pixels
    excluded: int  # boxes of images that are not scored, or of findings that are not predicted


@dataclass(frozen=True)
class LocalizationScores:
    """The score of each kind of map against each box."""

    boxes: ScoredBoxes
    size: int  # stored pixels
    cells: tuple[int, int]  # of a map
    scores: dict[str, list[BoxScore]]  # kind of map: by box
    cam_unavailable_reason: str | None

    @property
    def caution(self) -> str:
        """What limits the scores; empty for maps that are fine enough."""
        return coarse_note(self.cells)


def scored_boxes(
    dataset: RadiographDataset, rows: NDArray[np.int64], findings: tuple[str, ...]
) -> ScoredBoxes:
    """Return the boxes of `rows`; those of other images or findings are counted."""
    place = {int(row): i for i, row in enumerate(rows)}
    places = np.array([place.get(int(row), -1) for row in dataset.boxes.row], dtype=np.int64)
    kept = (places >= 0) & np.isin(dataset.boxes.finding, findings)
    corners = dataset.boxes.box[kept].astype(np.float64).reshape(-1, 4)
    excluded = int((~kept).sum())
    return ScoredBoxes(places[kept], dataset.boxes.finding[kept], corners, excluded)


def locate(
    classifier: Classifier,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    device: torch.device,
    progress: Callable[[int, int], None],
) -> LocalizationScores | None:
    """Return the scores of a model's maps against the boxes of `rows`; None where there are none.

    Raises `UsageError` for a backbone without a feature map.
    """
    findings = classifier.architecture.findings
    boxes = scored_boxes(dataset, rows, findings)
    if not len(boxes.places):
        return None
    scores: dict[str, list[BoxScore]] = {GRAD_CAM: [], CAM: [], RANDOM: []}
    noise = np.random.default_rng(SEED)
    layer = spatial_layer(classifier)
    for first in range(0, len(boxes.places), BATCH):
        chosen = slice(first, first + BATCH)
        images = torch.from_numpy(dataset.gather(rows[boxes.places[chosen]])).to(device)
        inputs = classifier.architecture.radiographs(images)
        columns = [findings.index(name) for name in boxes.findings[chosen].tolist()]
        maps = attribution_maps(classifier, inputs, torch.tensor(columns, device=device), layer)
        for kind, values in _kinds(maps, noise).items():
            large = _enlarged(values, dataset.size)
            scores[kind] += [
                score_map(*one)
                for one in zip(values.cpu().numpy(), large, boxes.corners[chosen], strict=True)
            ]
        progress(min(first + BATCH, len(boxes.places)), len(boxes.places))
    reason = None if scores[CAM] else "its features are not the means of a map under a linear head"
    found = {kind: values for kind, values in scores.items() if values}
    return LocalizationScores(boxes, dataset.size, layer.cells, found, reason)


def _kinds(maps: Maps, noise: np.random.Generator) -> dict[str, torch.Tensor]:
    drawn = torch.from_numpy(noise.random(tuple(maps.grad_cam.shape), dtype=np.float32))
    found = {GRAD_CAM: maps.grad_cam, RANDOM: drawn}
    return found if maps.cam is None else {**found, CAM: maps.cam}


def _enlarged(values: torch.Tensor, size: int) -> Floats:
    large = F.interpolate(
        values.unsqueeze(1).float().cpu(), (size, size), mode="bilinear", align_corners=False
    )
    return large[:, 0].double().numpy()


def localization(located: LocalizationScores, resampling: Resampling) -> dict[str, Any]:
    """Return shares of boxes with intervals by kind of map, by finding and over all boxes."""
    names = located.boxes.findings
    groups = {name: np.flatnonzero(names == name) for name in np.unique(names).tolist()}
    area = located.boxes.corners[:, 2:].prod(axis=1) / located.size**2
    return {
        "boxes": len(names),
        "images": len(np.unique(located.boxes.places)),
        "excluded": located.boxes.excluded,
        "cells": list(located.cells),
        "cam_unavailable_reason": located.cam_unavailable_reason,
        "random_baseline": {
            "all": float(area.mean()),
            "findings": {name: float(area[rows].mean()) for name, rows in groups.items()},
        },
        "maps": {
            kind: {
                "all": _shares(located, kind, np.arange(len(names)), resampling),
                "findings": {
                    name: _shares(located, kind, rows, resampling) for name, rows in groups.items()
                },
            }
            for kind in located.scores
        },
    }


def _shares(
    located: LocalizationScores, kind: str, boxes: NDArray[np.int64], resampling: Resampling
) -> dict[str, Any]:
    scores = [located.scores[kind][box] for box in boxes.tolist()]
    columns = {"pointing_game_accuracy": [score.hit for score in scores]}
    columns |= {f"iou_{level:g}": [s.iou >= level for s in scores] for level in IOU_LEVELS}
    columns |= {f"iobb_{level:g}": [s.iobb >= level for s in scores] for level in IOBB_LEVELS}
    numerators = np.array(list(columns.values()), dtype=np.float64).T
    found = ratios_with_intervals(
        numerators, np.ones_like(numerators), located.boxes.places[boxes], resampling
    )
    return {"boxes": len(boxes), **dict(zip(columns, found, strict=True))}


def score_map(cells: Floats, values: Floats, box: Floats) -> BoxScore:
    """Return the score of a map against a box.

    cells: (h, w), the map; values: (S, S), the same enlarged; box: (4,), x, y, width, height in
    pixels of the latter.
    """
    least, most = values.min(), values.max()
    if not cells.max() > cells.min():
        return BoxScore(False, 0.0, 0.0)  # the map is the same everywhere
    row, column = _peak(cells, len(values))
    x, y, width, height = box
    hit = x <= column <= x + width and y <= row <= y + height
    found = _region(values >= least + REGION_LEVEL * (most - least), (int(row), int(column)))
    return BoxScore(bool(hit), *_overlap(found, box))


def _peak(cells: Floats, size: int) -> tuple[float, float]:
    """Return the middle of the highest cell, in pixels: row and column."""
    # enlarged, a cell at the edge is level up to the edge, and has no single highest pixel
    place = np.unravel_index(int(cells.argmax()), cells.shape)
    row, column = ((int(i) + 0.5) * size / n for i, n in zip(place, cells.shape, strict=True))
    return row, column


def _region(above: NDArray[np.bool_], peak: tuple[int, int]) -> Floats:
    """Return the bounding box (4,) of the connected component that holds the peak."""
    components, _ = ndimage.label(above)
    # where the pixel of the peak is not above, by a corner of the grid, the largest one is taken
    chosen = components[peak] or int(np.bincount(components[components > 0]).argmax())
    rows, columns = ndimage.find_objects((components == chosen).astype(np.int8))[0]
    width, height = columns.stop - columns.start, rows.stop - rows.start
    return np.array([columns.start, rows.start, width, height], dtype=np.float64)


def _overlap(one: Floats, other: Floats) -> tuple[float, float]:
    ends = np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    sides = np.clip(ends - np.maximum(one[:2], other[:2]), 0, None)
    shared, predicted, drawn = sides.prod(), one[2:].prod(), other[2:].prod()
    return float(shared / (predicted + drawn - shared)), float(shared / predicted)

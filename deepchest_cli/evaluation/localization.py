"""Whether a model looks where NIH's radiologists drew boxes; official test part only.

All 984 boxes lie in NIH's official test list: under another split, models are trained on some of
them. Beside each map stands what no model at all would score: the share of the image that the box
covers, and maps of noise with as many cells.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from deepchest_cli.data.augmentation import normalize, to_gray
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.shards import read_shard
from deepchest_cli.evaluation.bootstrap import Resampling
from deepchest_cli.evaluation.boxes import IOBB_LEVELS, IOU_LEVELS, BoxScore, score_map
from deepchest_cli.evaluation.figures import ratio_figures
from deepchest_cli.evaluation.metrics import Floats
from deepchest_cli.model.attribution import Maps, attribution_maps, map_layer
from deepchest_cli.model.classifier import Classifier

GRAD_CAM, CAM, RANDOM = "grad_cam", "cam", "random"
BATCH = 16
SEED = 0  # of the maps of noise


@dataclass(frozen=True)
class Boxes:
    """B boxes of scored images."""

    places: NDArray[np.int64]  # (B,), among the scored rows
    findings: NDArray[np.str_]  # (B,)
    corners: Floats  # (B, 4), x, y, width, height in stored pixels
    excluded: int  # boxes of images that are not scored, or of findings that are not predicted


@dataclass(frozen=True)
class Located:
    """What each kind of map scored against each box."""

    boxes: Boxes
    size: int  # stored pixels
    cells: tuple[int, int]  # of a map
    scores: dict[str, list[BoxScore]]  # kind of map: by box
    cam_unavailable_reason: str | None


def boxes_of(
    dataset: RadiographDataset, rows: NDArray[np.int64], findings: tuple[str, ...]
) -> Boxes:
    """Return the boxes of `rows`; those of other images or findings are counted."""
    place = {int(row): i for i, row in enumerate(rows)}
    kept, excluded, first = [], 0, 0
    for entry in dataset.manifest["shards"]:
        content = read_shard(dataset.folder / entry["file"])
        for row, name, box in zip(content.box_row, content.box_finding, content.box, strict=True):
            where, finding = place.get(first + int(row)), name.decode()
            if where is None or finding not in findings:
                excluded += 1
            else:
                kept.append((where, finding, box))
        first += len(content.images)
    return Boxes(
        np.array([where for where, _, _ in kept], dtype=np.int64),
        np.array([finding for _, finding, _ in kept], dtype=str),
        np.array([box for _, _, box in kept], dtype=np.float64).reshape(-1, 4),
        excluded,
    )


def locate(
    classifier: Classifier,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Located | None:
    """Return the scores of a model's maps against the boxes of `rows`; None where there are none.

    Raises `UsageError` for a backbone without a feature map.
    """
    findings = classifier.architecture.findings
    boxes = boxes_of(dataset, rows, findings)
    if not len(boxes.places):
        return None
    scores: dict[str, list[BoxScore]] = {GRAD_CAM: [], CAM: [], RANDOM: []}
    noise = np.random.default_rng(SEED)
    layer, cells = "", (0, 0)
    for first in range(0, len(boxes.places), BATCH):
        chosen = slice(first, first + BATCH)
        inputs = _inputs(classifier, dataset, rows[boxes.places[chosen]], device)
        layer = layer or map_layer(classifier, inputs[:1])
        columns = [findings.index(name) for name in boxes.findings[chosen].tolist()]
        maps = attribution_maps(classifier, inputs, torch.tensor(columns, device=device), layer)
        cells = (int(maps.grad_cam.shape[1]), int(maps.grad_cam.shape[2]))
        for kind, values in _kinds(maps, noise).items():
            large = _enlarged(values, dataset.size)
            scores[kind] += [
                score_map(*one)
                for one in zip(values.cpu().numpy(), large, boxes.corners[chosen], strict=True)
            ]
        progress(min(first + BATCH, len(boxes.places)), len(boxes.places))
    reason = None if scores[CAM] else "its features are not the means of a map under a linear head"
    found = {kind: values for kind, values in scores.items() if values}
    return Located(boxes, dataset.size, cells, found, reason)


def _inputs(
    classifier: Classifier, dataset: RadiographDataset, rows: NDArray[np.int64], device: Any
) -> torch.Tensor:
    architecture = classifier.architecture
    images = torch.from_numpy(dataset.gather(rows)).to(device)
    return normalize(to_gray(images, architecture.image_size), architecture.normalization)


def _kinds(maps: Maps, noise: np.random.Generator) -> dict[str, torch.Tensor]:
    drawn = torch.from_numpy(noise.random(tuple(maps.grad_cam.shape), dtype=np.float32))
    found = {GRAD_CAM: maps.grad_cam, RANDOM: drawn}
    return found if maps.cam is None else {**found, CAM: maps.cam}


def _enlarged(values: torch.Tensor, size: int) -> Floats:
    large = F.interpolate(
        values.unsqueeze(1).float().cpu(), (size, size), mode="bilinear", align_corners=False
    )
    return large[:, 0].double().numpy()


def localization(located: Located, resampling: Resampling) -> dict[str, Any]:
    """Return by kind of map, and by finding and over all boxes, shares of boxes with intervals."""
    names = located.boxes.findings
    groups = {name: np.flatnonzero(names == name) for name in np.unique(names).tolist()}
    area = located.boxes.corners[:, 2:].prod(axis=1) / located.size**2
    return {
        "boxes": len(names),
        "images": len(np.unique(located.boxes.places)),
        "excluded": located.boxes.excluded,
        "cells": list(located.cells),
        "cam_unavailable_reason": located.cam_unavailable_reason,
        "chance": {
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
    located: Located, kind: str, boxes: NDArray[np.int64], resampling: Resampling
) -> dict[str, Any]:
    scores = [located.scores[kind][box] for box in boxes.tolist()]
    columns = {"pointing": [score.hit for score in scores]}
    columns |= {f"iou_{level:g}": [s.iou >= level for s in scores] for level in IOU_LEVELS}
    columns |= {f"iobb_{level:g}": [s.iobb >= level for s in scores] for level in IOBB_LEVELS}
    parts = np.array(list(columns.values()), dtype=np.float64).T
    found = ratio_figures(parts, np.ones_like(parts), located.boxes.places[boxes], resampling)
    return {"boxes": len(boxes), **dict(zip(columns, found, strict=True))}

"""From stored bytes to the network's input; augmentation is one resampling of the whole batch."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """What turns grey values from 0 to 1 into the network's input: (x - mean) / deviation."""

    mean: float = 0.5
    deviation: float = 0.25


@dataclass(frozen=True)
class Augmentation:
    """The ranges that are drawn from, uniformly, for each image."""

    rotation: float = 10.0  # degrees either way
    scale: float = 0.1  # share of the size, either way
    shift: float = 0.05  # share of the width and height, either way
    brightness: float = 0.1  # of the grey range, either way
    contrast: float = 0.2  # factor, either way
    flip: bool = False


def to_grey(images: Tensor, size: int) -> Tensor:
    """Return bytes (B, S, S) as grey values (B, 1, size, size) from 0 to 1."""
    grey = images.unsqueeze(1).float() / 255
    if grey.shape[-1] == size:
        return grey
    return F.interpolate(
        grey, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def augment(grey: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Return (B, 1, S, S) rotated, scaled, shifted, perhaps flipped, and exposed otherwise.

    The geometry is one affine map and so one resampling; `generator` lives on the CPU, so that
    every device draws the same numbers.
    """
    draws = torch.rand(7, len(grey), generator=generator) * 2 - 1  # (7, B), -1 to 1
    grid = F.affine_grid(
        _affine(draws, augmentation).to(grey.device), list(grey.shape), align_corners=False
    )
    moved = F.grid_sample(grey, grid, padding_mode="zeros", align_corners=False)
    brightness, contrast = draws[5:].to(grey.device)[:, :, None, None, None]
    factor = 1 + augmentation.contrast * contrast
    exposed: Tensor = (moved - 0.5) * factor + 0.5 + augmentation.brightness * brightness
    return exposed.clamp(0, 1)


def _affine(draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Return the maps (B, 2, 3) from output to input coordinates, which run from -1 to 1."""
    angle = draws[0] * math.radians(augmentation.rotation)
    scale = 1 + draws[1] * augmentation.scale
    mirror = torch.where(draws[4] < 0, -1.0, 1.0) if augmentation.flip else torch.ones_like(scale)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2 * augmentation.shift * draws[2:4]
    rows = torch.stack([cosine * mirror, -sine, shift[0], sine * mirror, cosine, shift[1]], dim=1)
    return rows.view(-1, 2, 3)


def normalise(grey: Tensor, normalisation: Normalisation) -> Tensor:
    """Return the network's input (B, 1, S, S), channels last."""
    standard = (grey - normalisation.mean) / normalisation.deviation
    return standard.contiguous(memory_format=torch.channels_last)

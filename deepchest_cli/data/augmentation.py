"""From stored bytes to the network's input; augmentation is one resampling of the whole batch."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]
DRAWS = 8  # random numbers an image


@dataclass(frozen=True)
class Normalization:
    """What turns gray values from 0 to 1 into the network's input: (x - mean) / std.

    The defaults are rounded from a sample of NIH's radiographs (mean 0.535, std 0.248).
    """

    mean: float = 0.5
    std: float = 0.25


@dataclass(frozen=True)
class Augmentation:
    """The ranges that are drawn from, uniformly, for each image."""

    rotation: float = 10.0  # degrees either way
    area: tuple[float, float] = (0.81, 1.21)  # of the radiograph that is seen
    aspect: float = 1.0  # largest ratio of the crop's sides, drawn on a log scale
    shift: float = 0.05  # share of the width and height, either way
    brightness: float = 0.1  # of the gray range, either way
    contrast: float = 0.2  # factor, either way
    flip: bool = False


# the authors' transforms, in one: rotation by 30 degrees, a crop resized, mirrored
PAPER = Augmentation(30.0, (0.08, 1.0), 4 / 3, shift=0.0, brightness=0.0, contrast=0.0, flip=True)


def to_gray(images: Tensor, size: int) -> Tensor:
    """Return bytes (B, S, S) as gray values (B, 1, size, size) from 0 to 1."""
    gray = images.unsqueeze(1).to(torch.float32, copy=True).div_(255)
    if gray.shape[-1] == size:
        return gray
    scaled = F.interpolate(gray, size, mode="bilinear", antialias=True, align_corners=False)
    return scaled.clamp(0, 1)


def shrink(images: Bytes, size: int) -> Bytes:
    """Return bytes (B, S, S) at a smaller size."""
    return to_bytes(to_gray(torch.from_numpy(images), size)).numpy()


def to_bytes(gray: Tensor) -> Tensor:
    """Return gray values (B, 1, S, S) from 0 to 1 as bytes (B, S, S)."""
    return gray.squeeze(1).mul(255).round_().to(torch.uint8)


def draw(images: int, generator: torch.Generator) -> Tensor:
    """Return the random numbers (8, B), from -1 to 1, that augment so many images.

    Drawn on the CPU: every device, and any number of processes, then augments alike.
    """
    return torch.rand(DRAWS, images, generator=generator) * 2 - 1


def augment(gray: Tensor, augmentation: Augmentation, draws: Tensor) -> Tensor:
    """Return (B, 1, S, S) rotated, cropped, scaled, shifted, perhaps flipped, exposed otherwise.

    The geometry is one affine map and so one resampling; `draws` (8, B) are those of `draw`.
    """
    grid = _grid(_affine(draws, augmentation).to(gray.device, non_blocking=True), gray.shape[-1])
    moved = F.grid_sample(gray, grid, padding_mode="zeros", align_corners=False)
    if augmentation.brightness or augmentation.contrast:
        factor = 1 + augmentation.contrast * draws[6]
        offset = 0.5 - 0.5 * factor + augmentation.brightness * draws[7]
        exposure = torch.stack([factor, offset]).to(gray.device, non_blocking=True)
        factor, offset = exposure[:, :, None, None, None]
        moved.mul_(factor).add_(offset)
    return moved.clamp_(0, 1)


def _grid(affine: Tensor, size: int) -> Tensor:
    """Return where each output pixel lies in the input, (B, S, S, 2), for maps (B, 2, 3).

    What torch's `affine_grid` gives, many times as fast: a coordinate is a row's part plus a
    column's, where it multiplies matrices of three columns.
    """
    steps = torch.arange(size, device=affine.device)
    centers = (2 * steps + 1) / size - 1  # of the pixels, from -1 to 1
    columns = affine[:, :, 0, None] * centers  # (B, 2, S)
    rows = affine[:, :, 1, None] * centers + affine[:, :, 2, None]
    planes = columns[:, :, None, :] + rows[:, :, :, None]  # (B, 2, S, S), read as fast as written
    return planes.permute(0, 2, 3, 1)


def _affine(draws: Tensor, augmentation: Augmentation) -> Tensor:
    """Return the maps (B, 2, 3) from output to input coordinates, which run from -1 to 1.

    An output point is mirrored and scaled into the crop, moved to its place, and rotated about
    the middle.
    """
    angle = draws[0] * math.radians(augmentation.rotation)
    width, height = _crop(draws, augmentation)
    mirror = torch.where(draws[5] < 0, -1.0, 1.0) if augmentation.flip else torch.ones_like(width)
    # a crop that fits may stand anywhere inside
    across = draws[3] * ((1 - width).clamp(min=0) + 2 * augmentation.shift)
    down = draws[4] * ((1 - height).clamp(min=0) + 2 * augmentation.shift)
    cosine, sine, width = torch.cos(angle), torch.sin(angle), width * mirror
    x = [cosine * width, -sine * height, cosine * across - sine * down]
    y = [sine * width, cosine * height, sine * across + cosine * down]
    return torch.stack([*x, *y], dim=1).view(-1, 2, 3)


def _crop(draws: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Return the width and height (B,) of what is seen, as shares of the radiograph's."""
    low, high = augmentation.area
    side = ((low + high) / 2 + draws[1] * (high - low) / 2).sqrt()
    stretch = torch.exp(draws[2] * math.log(augmentation.aspect) / 2)
    largest = max(1.0, math.sqrt(high))
    return (side * stretch).clamp(max=largest), (side / stretch).clamp(max=largest)


def normalize(gray: Tensor, normalization: Normalization) -> Tensor:
    """Return the network's input (B, 1, S, S), channels last."""
    standard = (gray - normalization.mean).div_(normalization.std)
    return standard.contiguous(memory_format=torch.channels_last)

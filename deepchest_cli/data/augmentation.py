"""From stored bytes to the network's input; augmentation is one resampling of the whole batch."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.transfer import to_device

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.float64]
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
    gray = images.unsqueeze(1).div(255)
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


def augment(
    gray: Tensor,
    augmentation: Augmentation,
    draws: Tensor,
    normalization: Normalization = Normalization(0.0, 1.0),
) -> Tensor:
    """Return (B, 1, S, S) rotated, cropped, scaled, shifted, perhaps flipped, exposed otherwise.

    The geometry is one affine map and so one resampling; exposure and `normalization` are one
    linear map. `draws` (8, B), on the CPU, are those of `draw`.
    """
    images, size = len(gray), gray.shape[-1]
    drawn = draws.numpy().astype(np.float64)
    numbers = [*_affine(drawn, augmentation), *_exposure(drawn, augmentation, normalization)]
    # in one copy: on a GPU the launch of every operation takes its time, and copies are some
    packed = np.concatenate([np.stack(numbers, axis=1).ravel(), _centers(size)])
    on_device = to_device(torch.from_numpy(packed.astype(np.float32)), gray.device)
    by_image, centers = on_device[:-size].view(images, len(numbers)), on_device[-size:]
    grid = _grid(by_image[:, :8].view(images, 2, 2, 2), centers)
    moved = F.grid_sample(gray, grid, padding_mode="zeros", align_corners=False)
    factor, offset = by_image[:, 8:, None, None, None].unbind(dim=1)
    black, white = ((end - normalization.mean) / normalization.std for end in (0, 1))
    seen = moved.mul_(factor).add_(offset).clamp_(black, white)
    return seen.contiguous(memory_format=torch.channels_last)


def _centers(size: int) -> Numbers:
    """Return where the centers of a row's pixels (S,) lie between -1 and 1."""
    return (2 * np.arange(size) + 1) / size - 1


def _grid(maps: Tensor, centers: Tensor) -> Tensor:
    """Return where each output pixel lies in the input, (B, S, S, 2).

    maps: (B, 2, 2, 2), of each coordinate in the input: slopes by the output's x and y, and what
    is added for each of them. centers: (S,), of the pixels.

    What torch's `affine_grid` gives, many times as fast: a coordinate is a column's part plus a
    row's, where it multiplies matrices of three columns.
    """
    slopes, offsets = maps[..., None].unbind(dim=2)
    columns, rows = torch.addcmul(offsets, slopes, centers).unbind(dim=2)  # (B, 2, S) each
    planes = columns[:, :, None, :] + rows[:, :, :, None]  # (B, 2, S, S), read as fast as written
    return planes.permute(0, 2, 3, 1)


def _affine(draws: Numbers, augmentation: Augmentation) -> list[Numbers]:
    """Return the maps from output to input coordinates: the eight numbers (B,) of `_grid`.

    An output point is mirrored and scaled into the crop, moved to its place, and rotated about
    the middle.
    """
    angle = draws[0] * math.radians(augmentation.rotation)
    width, height = _crop(draws, augmentation)
    # a crop that fits may stand anywhere inside
    across = draws[3] * (np.maximum(1 - width, 0) + 2 * augmentation.shift)
    down = draws[4] * (np.maximum(1 - height, 0) + 2 * augmentation.shift)
    if augmentation.flip:
        width = np.where(draws[5] < 0, -width, width)
    cosine, sine, none = np.cos(angle), np.sin(angle), np.zeros_like(angle)
    x = [cosine * width, -sine * height, none, cosine * across - sine * down]
    y = [sine * width, cosine * height, none, sine * across + cosine * down]
    return [*x, *y]


def _crop(draws: Numbers, augmentation: Augmentation) -> tuple[Numbers, Numbers]:
    """Return the width and height (B,) of what is seen, as shares of the radiograph's."""
    low, high = augmentation.area
    side = np.sqrt((low + high) / 2 + draws[1] * (high - low) / 2)
    stretch = np.exp(draws[2] * math.log(augmentation.aspect) / 2)
    largest = max(1.0, math.sqrt(high))
    return np.minimum(side * stretch, largest), np.minimum(side / stretch, largest)


def _exposure(
    draws: Numbers, augmentation: Augmentation, normalization: Normalization
) -> list[Numbers]:
    """Return factor and offset (B,) of gray values, for exposure and normalization together."""
    factor = 1 + augmentation.contrast * draws[6]
    offset = 0.5 - 0.5 * factor + augmentation.brightness * draws[7]
    return [factor / normalization.std, (offset - normalization.mean) / normalization.std]


def normalize(gray: Tensor, normalization: Normalization) -> Tensor:
    """Return the network's input (B, 1, S, S), channels last."""
    standard = (gray - normalization.mean).div_(normalization.std)
    return standard.contiguous(memory_format=torch.channels_last)

"""From stored bytes to the network's input; augmentation is one resampling of the whole batch."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS = 8  # random numbers an image


@dataclass(frozen=True)
class Normalisation:
    """What turns grey values from 0 to 1 into the network's input: (x - mean) / deviation.

    The defaults are rounded from a sample of NIH's radiographs (mean 0.535, deviation 0.248).
    """

    mean: float = 0.5
    deviation: float = 0.25


@dataclass(frozen=True)
class Augmentation:
    """The ranges that are drawn from, uniformly, for each image."""

    rotation: float = 10.0  # degrees either way
    area: tuple[float, float] = (0.81, 1.21)  # of the radiograph that is seen
    aspect: float = 1.0  # largest ratio of the crop's sides, drawn on a log scale
    shift: float = 0.05  # share of the width and height, either way
    brightness: float = 0.1  # of the grey range, either way
    contrast: float = 0.2  # factor, either way
    flip: bool = False


# the authors' transforms, in one: rotation by 30 degrees, a crop resized, mirrored
PAPER = Augmentation(30.0, (0.08, 1.0), 4 / 3, shift=0.0, brightness=0.0, contrast=0.0, flip=True)


def to_grey(images: Tensor, size: int) -> Tensor:
    """Return bytes (B, S, S) as grey values (B, 1, size, size) from 0 to 1."""
    grey = images.unsqueeze(1).float() / 255
    if grey.shape[-1] == size:
        return grey
    return F.interpolate(
        grey, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    ).clamp(0, 1)


def draw(images: int, generator: torch.Generator) -> Tensor:
    """Return the random numbers (8, B), from -1 to 1, that augment so many images.

    Drawn on the CPU: every device, and any number of processes, then augments alike.
    """
    return torch.rand(DRAWS, images, generator=generator) * 2 - 1


def augment(grey: Tensor, augmentation: Augmentation, draws: Tensor) -> Tensor:
    """Return (B, 1, S, S) rotated, cropped, scaled, shifted, perhaps flipped, exposed otherwise.

    The geometry is one affine map and so one resampling; `draws` (8, B) are those of `draw`.
    """
    affine = _affine(draws, augmentation).to(grey.device, non_blocking=True)
    grid = F.affine_grid(affine, list(grey.shape), align_corners=False)
    moved = F.grid_sample(grey, grid, padding_mode="zeros", align_corners=False)
    if not augmentation.brightness and not augmentation.contrast:
        return moved.clamp(0, 1)
    brightness, contrast = draws[6:].to(grey.device, non_blocking=True)[:, :, None, None, None]
    factor = 1 + augmentation.contrast * contrast
    exposed: Tensor = (moved - 0.5) * factor + 0.5 + augmentation.brightness * brightness
    return exposed.clamp(0, 1)


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


def normalise(grey: Tensor, normalisation: Normalisation) -> Tensor:
    """Return the network's input (B, 1, S, S), channels last."""
    standard = (grey - normalisation.mean) / normalisation.deviation
    return standard.contiguous(memory_format=torch.channels_last)

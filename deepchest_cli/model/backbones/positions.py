"""Position embeddings of square images at another size than they were trained at."""

from collections.abc import Mapping
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

ABSOLUTE, RELATIVE = ("position_embedding", "pos_embed"), "relative_position_bias_table"
MOST_OTHERS = 16  # tokens beside the patches


def resample_positions(
    wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], antialias: bool = False
) -> dict[str, Tensor]:
    """Return a state dict whose positions have the wanted numbers, where they are square grids.

    Absolute embeddings (N, D) or (1, N, D) begin with those of other tokens, and are resampled
    bicubically; tables of relative biases (N, heads) end with them, bilinearly: both as
    transformers does (`interpolate_pos_encoding`). What does not fit stays.
    """
    return {
        key: _resample(key, value, wanted[key], antialias) if key in wanted else value
        for key, value in state.items()
    }


def _resample(key: str, found: Tensor, wanted: Tensor, antialias: bool) -> Tensor:
    is_relative = key.endswith(RELATIVE)
    is_position = is_relative or any(word in key for word in ABSOLUTE)
    if not is_position or found.dim() not in (2, 3) or found.shape[-1] != wanted.shape[-1]:
        return found
    count, target = found.shape[-2], wanted.shape[-2]
    others = _others(count, target)
    if others is None or count == target or found.dim() != wanted.dim():
        return found
    rows = found.reshape(count, -1).float()
    if is_relative:
        grid, rest = rows[: count - others], rows[count - others :]
    else:
        rest, grid = rows[:others], rows[others:]
    side, new_side = isqrt(len(grid)), isqrt(target - others)
    pixels = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
    mode = "bilinear" if is_relative else "bicubic"
    resized = F.interpolate(
        pixels, (new_side, new_side), mode=mode, align_corners=False, antialias=antialias
    )
    new = resized.permute(0, 2, 3, 1).reshape(new_side**2, -1)
    return torch.cat([new, rest] if is_relative else [rest, new]).reshape(wanted.shape)


def _others(count: int, target: int) -> int | None:
    """Return how many of the rows are of no patch: both numbers are squares without them."""
    for others in range(min(count, target, MOST_OTHERS)):
        if all(isqrt(n - others) ** 2 == n - others for n in (count, target)):
            return others
    return None

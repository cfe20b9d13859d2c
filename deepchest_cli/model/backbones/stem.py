"""Changes to networks from elsewhere: a stem of one channel, and no classification layer."""

from typing import Any

import torch
from torch import Tensor, nn

from deepchest_cli.model.backbones.base import GRAY, RGB


def remove_classifier(network: nn.Module) -> int:
    """Replace the last layer by `nn.Identity` and return the width of its input."""
    name, layer = [
        (n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)
    ][-1]
    replace_module(network, name, nn.Identity())
    # SqueezeNet classifies by a convolution, and takes the mean of the map afterwards
    return layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features


def make_one_channel(network: nn.Module) -> None:
    """Sum the stem's filters over the three colors: the same function on a gray image."""
    name, stem = next(
        (n, m)
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and m.in_channels == RGB
    )
    settings: dict[str, Any] = {
        key: getattr(stem, key) for key in ("kernel_size", "stride", "padding")
    }
    gray = nn.Conv2d(GRAY, stem.out_channels, bias=stem.bias is not None, **settings)
    with torch.no_grad():
        gray.weight.copy_(stem.weight.sum(dim=1, keepdim=True))
        if stem.bias is not None and gray.bias is not None:
            gray.bias.copy_(stem.bias)
    replace_module(network, name, gray)


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module of this name."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def fit_stem(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sum filters of three colors where the trunk has one channel; whatever else stays."""
    convolutions = [(n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d)]
    for name, stem in convolutions[:1]:
        key = f"{name}.weight"
        outputs, channels, *kernel = stem.weight.shape
        if channels == GRAY and key in state and state[key].shape == (outputs, RGB, *kernel):
            state[key] = state[key].float().sum(dim=1, keepdim=True)
    return state

"""Backbones by name, as feature extractors for one-channel radiographs."""

from itertools import pairwise
from typing import Any

import torch
import torchvision
from torch import nn

from deepchest_cli.errors import unknown_name
from deepchest_cli.model.sizes import refuse_unfit_size
from deepchest_cli.model.weights import load_weights, refuse_absent_weights

RGB, GRAY = 3, 1
SMALL_CNN = "small_cnn"  # a baseline that trains on any machine
SMALL_CNN_CHANNELS, SMALL_CNN_FEATURES = (1, 32, 64, 128), 512
ALIASES = {
    "cnn": SMALL_CNN,
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "inception": "inception_v3",
    "maxvit": "maxvit_t",
    "mobilenet": "mobilenet_v2",
    "resnet": "resnet50",
    "resnext": "resnext50_32x4d",
    "shufflenet": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_b",
    "vgg": "vgg16",
    "vit": "vit_b_16",
}
# these have auxiliary classifiers at half depth, which are not trained here
AUXILIARY = ("googlenet", "inception_v3")


def backbone_names() -> list[str]:
    """Return the canonical names: our small CNN and torchvision's image classifiers."""
    return sorted([SMALL_CNN, *torchvision.models.list_models(module=torchvision.models)])


def resolve_backbone(name: str) -> str:
    """Return the canonical name of a backbone; raises `UsageError` for an unknown one."""
    canonical = ALIASES.get(name, name)
    known = backbone_names()
    if canonical not in known:
        raise unknown_name("backbone", name, [*known, *ALIASES])
    return canonical


def build_trunk(name: str, image_size: int, weights: str = "none") -> tuple[nn.Module, int]:
    """Return a backbone without its classification layer, and its number of features D.

    The trunk maps (B, 1, S, S) to (B, D). `name` may be an alias. `weights` is none, imagenet
    (torchvision's best, fetched on first use), or the path of a state dict or checkpoint.
    Raises `UsageError` for an unknown name, an unfit size and the weights of another backbone, and
    `DeepChestError` for weights that do not fit.
    """
    name = resolve_backbone(name)
    refuse_unfit_size(name, image_size)
    refuse_absent_weights(name, weights)
    if name == SMALL_CNN:
        trunk, features, classifier = build_small_cnn(image_size), SMALL_CNN_FEATURES, None
    else:
        trunk = _build(name, image_size)
        features, classifier = _remove_classifier(trunk)
        _make_one_channel(trunk)
    load_weights(trunk, name, weights, classifier)
    return trunk, features


def build_small_cnn(image_size: int) -> nn.Sequential:
    """Return three stages of convolution, ReLU and pooling, and a layer of 512 features.

    Maps (B, 1, S, S) to (B, 512) at the one size S, at least 8 px, that it is built for.
    """
    stages: list[nn.Module] = []
    for before, after in pairwise(SMALL_CNN_CHANNELS):
        stages += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    side = image_size // 2 ** (len(SMALL_CNN_CHANNELS) - 1)
    hidden = nn.Linear(SMALL_CNN_CHANNELS[-1] * side**2, SMALL_CNN_FEATURES)
    return nn.Sequential(*stages, nn.Flatten(), hidden, nn.ReLU())


def _build(name: str, image_size: int) -> Any:
    settings: dict[str, Any] = {}
    if name in AUXILIARY:
        settings = {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):  # its position embedding depends on the size
        settings = {"image_size": image_size}
    if name.startswith("maxvit_"):  # so do its partitions
        settings = {"input_size": (image_size, image_size)}
    return torchvision.models.get_model(name, weights=None, **settings)


def _remove_classifier(network: nn.Module) -> tuple[int, str]:
    """Replace the last layer by nothing; return the width of its input, and its name."""
    name, layer = [
        (n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)
    ][-1]
    _replace(network, name, nn.Identity())
    # SqueezeNet classifies by a convolution, and takes the mean of the map afterwards
    return (layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features), name


def _make_one_channel(network: nn.Module) -> None:
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
    _replace(network, name, gray)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)

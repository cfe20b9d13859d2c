"""Any torchvision classifier as a feature extractor for one-channel radiographs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from deepchest_cli.errors import DeepChestError, UsageError, unknown_name

RGB, GREY = 3, 1
# these have classifiers for training at half depth, which one logit a finding has no use for
AUXILIARY = ("googlenet", "inception_v3")
AUXILIARY_KEYS = ("AuxLogits.", "aux1.", "aux2.")


def backbone_names() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    return list(torchvision.models.list_models(module=torchvision.models))


def build_trunk(name: str, image_size: int, weights: str = "none") -> tuple[nn.Module, int]:
    """Return a backbone without its classification layer, and its number of features D.

    The trunk maps (B, 1, S, S) to (B, D). `weights` is none, imagenet (torchvision's best, fetched
    on first use), or the path of a torchvision state dict.
    Raises `UsageError` for an unknown name and `DeepChestError` for weights that do not fit.
    """
    if name not in backbone_names():
        raise unknown_name("backbone", name, backbone_names())
    network = _build(name, image_size)
    if weights == "imagenet":
        _load_imagenet(network, name)
    elif weights != "none":
        _load(network, read_state_dict(Path(weights)), weights, name)
    features = _remove_classifier(network)
    _make_one_channel(network)
    return network, features


def _build(name: str, image_size: int) -> nn.Module:
    settings: dict[str, Any] = {}
    if name in AUXILIARY:
        settings = {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):  # its position embedding depends on the size
        settings = {"image_size": image_size}
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, **settings)
    except AssertionError as error:  # torch's way of saying that patches do not fit
        raise UsageError(f"{name} does not take radiographs of {image_size} px: {error}") from error
    return network


def _load_imagenet(network: nn.Module, name: str) -> None:
    best = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state = best.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise DeepChestError(
            f"The ImageNet weights of {name} could not be fetched: {error}.",
            f"Fetch {best.url} elsewhere and name the file: --weights PATH",
        ) from error
    _load(network, state, best.url, name)


def _load(network: nn.Module, state: Mapping[str, Tensor], where: object, name: str) -> None:
    kept = {k: value for k, value in state.items() if not k.startswith(AUXILIARY_KEYS)}
    _refuse_other_keys(network.state_dict(), kept, where, name)
    network.load_state_dict(kept)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a weights file; code inside the file is never run."""
    if not path.is_file():
        raise UsageError(
            f"There is no weights file {path}.", "--weights takes none, imagenet or a path."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        raise DeepChestError(
            f"{path} is no file of weights: {str(error).splitlines()[0]}",
            "Use a state dict saved with torch.save.",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DeepChestError(f"{path} is no state dict of tensors.")
    # what DataParallel puts before every name
    return {key.removeprefix("module."): value for key, value in state.items()}


def _refuse_other_keys(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], where: object, name: str
) -> None:
    missing = [key for key in wanted if key not in found]
    surplus = [key for key in found if key not in wanted]
    shapes = [k for k in wanted if k in found and wanted[k].shape != found[k].shape]
    if missing or surplus or shapes:
        details = [
            f"{what}: {', '.join(keys[:3])}{' ...' if len(keys) > 3 else ''}"
            for what, keys in (("missing", missing), ("unknown", surplus), ("other shape", shapes))
            if keys
        ]
        raise DeepChestError(
            f"The weights in {where} are not those of {name} ({'; '.join(details)}).",
            "Name the backbone, and for a ViT the image size, that they were saved from.",
        )


def _remove_classifier(network: nn.Module) -> int:
    """Replace the last linear layer by nothing and return the width of its input."""
    linear = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise UsageError(
            f"{type(network).__name__} does not end in a linear layer.",
            "Choose another --backbone, for instance resnet50.",
        )
    name, layer = linear[-1]
    _replace(network, name, nn.Identity())
    return int(layer.in_features)


def _make_one_channel(network: nn.Module) -> None:
    """Sum the stem's filters over the three colours: the same function on a grey image."""
    name, stem = next(
        (n, m)
        for n, m in network.named_modules()
        if isinstance(m, nn.Conv2d) and m.in_channels == RGB
    )
    settings: dict[str, Any] = {
        key: getattr(stem, key) for key in ("kernel_size", "stride", "padding")
    }
    grey = nn.Conv2d(GREY, stem.out_channels, bias=stem.bias is not None, **settings)
    with torch.no_grad():
        grey.weight.copy_(stem.weight.sum(dim=1, keepdim=True))
        if stem.bias is not None and grey.bias is not None:
            grey.bias.copy_(stem.bias)
    _replace(network, name, grey)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)

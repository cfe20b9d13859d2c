"""Where a trunk's first weights come from: nowhere, ImageNet, a state dict, or a checkpoint."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from deepchest_cli.data.augmentation import Normalisation
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.checkpoint_format import is_checkpoint, refuse_unusable
from deepchest_cli.model.state_dicts import copy_state, current_names, refuse_other_keys

NONE, IMAGENET = "none", "imagenet"
WITHOUT_IMAGENET = ("small_cnn",)
AUXILIARY_KEYS = ("AuxLogits.", "aux1.", "aux2.")
POSITIONS = "encoder.pos_embedding"
# their ImageNet weights take (grey - 0.5) / 0.5; every other's inputs deviate about as much as ours
STEM_SCALE = dict.fromkeys(("googlenet", "inception_v3"), Normalisation.deviation / 0.5)


def refuse_absent_weights(name: str, weights: str) -> None:
    """Raise `UsageError` for ImageNet weights of a backbone that has none."""
    if weights == IMAGENET and name in WITHOUT_IMAGENET:
        raise UsageError(
            f"{name} has no ImageNet weights.",
            "Use --weights none, or another --backbone, for instance resnet18.",
        )


def load_weights(trunk: nn.Module, name: str, weights: str, classifier: str | None) -> None:
    """Fill a one-channel trunk with `weights`: none (left as drawn), imagenet, or a path.

    `classifier` is the name of the layer that the trunk has lost, whose tensors are not wanted.
    Raises `UsageError` for a missing file or the checkpoint of another backbone and
    `DeepChestError` for tensors that do not fit.
    """
    if weights == NONE:
        return
    state, where = _fetch(name) if weights == IMAGENET else (_read(Path(weights), name), weights)
    lost = AUXILIARY_KEYS if classifier is None else (*AUXILIARY_KEYS, f"{classifier}.")
    state = {k: v for k, v in current_names(state).items() if not k.startswith(lost)}
    scale = STEM_SCALE.get(name, 1.0) if weights == IMAGENET else 1.0
    state = _fit_positions(trunk, _fit_stem(trunk, state, scale))
    refuse_other_keys(trunk.state_dict(), state, where, name)
    copy_state(trunk, state)


def _fetch(name: str) -> tuple[Mapping[str, Tensor], str]:
    best = torchvision.models.get_model_weights(name).DEFAULT
    try:
        return best.get_state_dict(progress=False, check_hash=True), best.url
    except (OSError, RuntimeError) as error:  # the latter for a file with another hash
        raise DeepChestError(
            f"The ImageNet weights of {name} could not be fetched: {error}.",
            f"Fetch {best.url} elsewhere and name the file: --weights PATH",
        ) from error


def _read(path: Path, name: str) -> dict[str, Tensor]:
    """Return the trunk's tensors of a weights file; code inside the file is never run."""
    content = _load(path)
    if is_checkpoint(content):
        return _trunk_of(content, path, name)
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise DeepChestError(
            f"{path} is no state dict of tensors.",
            "Save the tensors alone: torch.save(model.state_dict(), PATH)",
        )
    return content


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(
            f"There is no weights file {path}.",
            "--weights takes none, imagenet, or the path of a file (of a run: its best.pt).",
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged and for unsafe files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DeepChestError(
            f"{path} is no file of weights: {reason}", "Use a state dict saved with torch.save."
        ) from error


def _trunk_of(content: dict[str, Any], path: Path, name: str) -> dict[str, Tensor]:
    refuse_unusable(content, path)
    other = content["architecture"].get("backbone")
    if other != name:
        raise UsageError(
            f"The checkpoint {path} is of the backbone {other}, not of {name}.",
            f"Use --backbone {other}, or other --weights.",
        )
    tensors = content["tensors"].items()
    return {k.removeprefix("trunk."): v for k, v in tensors if k.startswith("trunk.")}


def _fit_stem(trunk: nn.Module, state: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Sum filters of three colours; whatever else does not fit is left to be refused."""
    key, grey = next((n, m) for n, m in trunk.named_modules() if isinstance(m, nn.Conv2d))
    key = f"{key}.weight"
    outputs, _, *kernel = grey.weight.shape
    if key in state and state[key].shape == (outputs, 3, *kernel):
        state[key] = scale * state[key].float().sum(dim=1, keepdim=True)
    return state


def _fit_positions(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Resample a ViT's position embeddings from the image size that they were trained at."""
    if not isinstance(trunk, VisionTransformer) or POSITIONS not in state:
        return state
    try:
        return dict(interpolate_embeddings(trunk.image_size, trunk.patch_size, OrderedDict(state)))
    except ValueError:  # no square of patches: the comparison that follows names the shapes
        return state

"""Torchvision's image classifiers, as feature extractors for one-channel radiographs."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings
from torchvision.ops import StochasticDepth

from deepchest_cli.data.augmentation import Normalization
from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    BackboneSource,
    BackboneSpec,
    Published,
    no_drop_path,
    refuse_pooling,
)
from deepchest_cli.model.backbones.stem import fit_stem, make_one_channel, remove_classifier
from deepchest_cli.model.sizes import SizeRule

# these have auxiliary classifiers at half depth, which are not trained here
AUXILIARY = ("googlenet", "inception_v3")

AUXILIARY_KEYS = ("AuxLogits.", "aux1.", "aux2.")
POSITIONS = "encoder.pos_embedding"
# their ImageNet weights take (gray - 0.5) / 0.5; the other inputs have about the std of ours
STEM_SCALE = dict.fromkeys(("googlenet", "inception_v3"), Normalization.std / 0.5)
# by the beginning of the name; who is not here takes every size
RULES = {
    "alexnet": SizeRule(least=63),
    "convnext": SizeRule(least=32),
    "densenet": SizeRule(least=29),
    "inception_v3": SizeRule(least=75),
    "maxvit": SizeRule(least=221, multiple=224, short_by=3),  # 7 x 7 cells after five halvings
    "vgg": SizeRule(least=32),
    "vit_b_16": SizeRule(least=32, multiple=16),
    "vit_b_32": SizeRule(least=32, multiple=32),
    "vit_h_14": SizeRule(least=28, multiple=14),
    "vit_l_16": SizeRule(least=32, multiple=16),
    "vit_l_32": SizeRule(least=32, multiple=32),
}


class TorchvisionSource(BackboneSource):
    """All of torchvision's classifiers, by their names."""

    def resolve(self, name: str) -> str:
        """Return the name, which the registry has looked up among `names`."""
        return name

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description; raises `UsageError` for a size that the backbone cannot take."""
        refuse_pooling(name, pool)
        size_rule(name).refuse(name, image_size)
        return BackboneSpec(name, image_size)

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return the network without its last layer, with a stem of one channel."""
        network = torchvision.models.get_model(spec.name, weights=None, **_settings(spec))
        if drop_path:
            _set_drop_path(network, spec.name, drop_path)
        features = remove_classifier(network)
        make_one_channel(network)
        return network, features

    def published(self, spec: BackboneSpec) -> Published:
        """Return where torchvision's best ImageNet weights are."""
        url = torchvision.models.get_model_weights(spec.name).DEFAULT.url
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
        return Published(url, file.is_file())

    def pretrained(self, spec: BackboneSpec) -> Mapping[str, Tensor]:
        """Return torchvision's best ImageNet weights."""
        best = torchvision.models.get_model_weights(spec.name).DEFAULT
        state: dict[str, Tensor] = dict(best.get_state_dict(progress=False, check_hash=True))
        if spec.name in STEM_SCALE:
            stem = next(key for key, value in state.items() if value.dim() == 4)
            state[stem] = STEM_SCALE[spec.name] * state[stem]
        return state

    def adapt(self, trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors without auxiliary classifiers, with positions for the image size."""
        state = {k: v for k, v in state.items() if not k.startswith(AUXILIARY_KEYS)}
        return _fit_positions(trunk, fit_stem(trunk, state))


def names() -> list[str]:
    """Return the names of torchvision's image classifiers."""
    return list(torchvision.models.list_models(module=torchvision.models))


def size_rule(name: str) -> SizeRule:
    """Return the sizes that a backbone of this name takes."""
    return next((rule for start, rule in RULES.items() if name.startswith(start)), SizeRule())


def _settings(spec: BackboneSpec) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if spec.name in AUXILIARY:
        settings = {"aux_logits": False, "init_weights": True}
    if spec.name.startswith("vit_"):  # its position embedding depends on the size
        settings = {"image_size": spec.image_size}
    if spec.name.startswith("maxvit_"):  # so do its partitions
        settings = {"input_size": (spec.image_size, spec.image_size)}
    return settings


def _set_drop_path(network: nn.Module, name: str, rate: float) -> None:
    """Give stochastic depth a rate in the last block, in the others as much as it was of that."""
    modules = [m for m in network.modules() if isinstance(m, StochasticDepth)]
    largest = max((module.p for module in modules), default=0.0)
    if not largest:
        raise no_drop_path(name)
    for module in modules:
        module.p *= rate / largest


def _fit_positions(trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Resample a ViT's position embeddings from the image size that they were trained at."""
    if not isinstance(trunk, VisionTransformer) or POSITIONS not in state:
        return state
    try:
        return dict(interpolate_embeddings(trunk.image_size, trunk.patch_size, OrderedDict(state)))
    except ValueError:  # no square of patches: the comparison that follows names the shapes
        return state

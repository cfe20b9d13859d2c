"""From the configuration of a transformers model to a trunk: sizes, channels, pooling."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from deepchest_cli.model.backbones.base import PRETRAINED_ON, no_drop_path
from deepchest_cli.model.backbones.stem import replace_module

CLASS_TOKEN, POOLED, MEAN = "class-token", "pooled", "mean"
PIXELS = "pixel_values"
# parameters of the embeddings that are tokens beside the patches, all before them
CLASS_TOKENS = ("cls_token", "class_embedding")
OTHER_TOKENS = ("distillation_token", "register_tokens")


@dataclass(frozen=True)
class Outputs:
    """What a network returns for an image of some size."""

    shape: tuple[int, ...]  # of the last hidden state: (1, N, D) or (1, D, H, W)
    leading: int  # class and register tokens before the patches
    has_class_token: bool
    is_pooled: bool  # the network has a pooled output
    pooler_is_a_layer: bool  # one that most published weights lack: it belongs to pretraining

    @property
    def ways(self) -> list[str]:
        """The ways to pool, the first one as the network was made."""
        ways = [CLASS_TOKEN] if self.has_class_token else []
        if self.is_pooled:
            ways.insert(len(ways) if self.pooler_is_a_layer else 0, POOLED)
        return [*ways, MEAN]

    def is_grid_of(self, side: int) -> bool:
        """Whether there is a vector for each of side x side patches and nothing coarser."""
        if len(self.shape) == 3:
            return self.shape[1] - self.leading == side**2
        return self.shape[2:] == (side, side)


class Pooling:
    """Turns what a network returns into features (B, D); a forward hook of the network.

    A hook and not a module around it: parameters keep the names that files of weights have.
    """

    def __init__(self, pool: str, leading: int) -> None:
        self.pool = pool
        self.leading = leading  # tokens that are no patches

    def __call__(self, network: nn.Module, images: Any, output: Any) -> Tensor:
        """Return features (B, D) of tokens (B, N, D) or a map (B, D, H, W)."""
        if self.pool == POOLED:
            pooled: Tensor = output.pooler_output.flatten(1)
            return pooled
        last: Tensor = output.last_hidden_state
        if last.dim() == 4:
            return last.mean(dim=(2, 3))
        return last[:, 0] if self.pool == CLASS_TOKEN else last[:, self.leading :].mean(dim=1)


def configuration(
    values: Mapping[str, Any],
    channels: int | None = None,
    image_size: int | None = None,
    drop_path: float = 0.0,
) -> Any:
    """Return a configuration for so many channels and pixels; None: as it was published.

    Raises `UsageError` for a rate of stochastic depth where the architecture has none.
    """
    from transformers import CONFIG_MAPPING

    known = {key: value for key, value in values.items() if key != PRETRAINED_ON}
    config: Any = CONFIG_MAPPING[values["model_type"]].from_dict(known)
    if channels and hasattr(config, "num_channels"):
        config.num_channels = channels
    if image_size and hasattr(
        config, "image_size"
    ):  # of the grid of positions: they are not resampled each step
        is_one = isinstance(config.image_size, int)
        config.image_size = image_size if is_one else [image_size, image_size]
    if drop_path:
        if not hasattr(config, "drop_path_rate"):
            raise no_drop_path(f"{values['model_type']} of transformers")
        config.drop_path_rate = drop_path
    config.return_dict = True
    config.output_hidden_states = config.output_attentions = False
    return config


def build_network(config: Any) -> nn.Module:
    """Return a network of transformers with random weights in fp32; raises its `ValueError`."""
    from transformers import AutoModel

    network: nn.Module = AutoModel.from_config(config, dtype=torch.float32)
    return network


def without_values(config: Any) -> nn.Module:
    """Return a network that knows shapes only: free of cost, whatever its size."""
    with torch.device("meta"):
        return build_network(config)


def outputs_of(network: nn.Module, channels: int, image_size: int) -> Outputs:
    """Run a network without values; raises what its forward raises, and `ValueError`."""
    images = torch.zeros(1, channels, image_size, image_size, device="meta")
    with torch.no_grad():
        output = network(images)
    last, pooled = output.last_hidden_state, output.get("pooler_output")
    if last.dim() not in (3, 4) or 0 in last.shape:
        raise ValueError(f"its output has the shape {tuple(last.shape)}")
    tokens = _leading_tokens(network) if last.dim() == 3 else []
    leading = sum(count for _, count in tokens)
    if last.dim() == 3:
        leading = _up_to_a_square(last.shape[1], leading)
    return Outputs(
        shape=tuple(last.shape),
        leading=leading,
        has_class_token=any(name in CLASS_TOKENS for name, _ in tokens),
        is_pooled=pooled is not None and pooled.numel() == pooled.shape[1],
        pooler_is_a_layer=hasattr(getattr(network, "pooler", None), "dense"),
    )


def _leading_tokens(network: nn.Module) -> list[tuple[str, int]]:
    """Return name and number of the tokens that stand before those of the patches."""
    found = []
    for path, parameter in network.named_parameters():
        parent, _, name = path.rpartition(".")
        if parent.endswith("embeddings") and name in (*CLASS_TOKENS, *OTHER_TOKENS):
            found.append((name, parameter.shape[-2] if parameter.dim() > 1 else 1))
    return found


def _up_to_a_square(tokens: int, leading: int) -> int:
    """Return the leading tokens with those that have no parameter: DINOv3's ConvNeXt pools so."""
    for more in range(leading, tokens):
        if isqrt(tokens - more) ** 2 == tokens - more:
            return more
    return leading


def add_pooling(network: nn.Module, config: Any, channels: int, image_size: int, pool: str) -> int:
    """Let a network return features, without what these do not need; return their number D."""
    twin = without_values(config)
    pooling = Pooling(pool, outputs_of(twin, channels, image_size).leading)
    twin.register_forward_hook(pooling)
    features = twin(torch.zeros(1, channels, image_size, image_size, device="meta"))
    features.sum().backward()
    unused = {n for n, p in twin.named_parameters() if p.requires_grad and p.grad is None}
    _remove(network, unused)
    network.register_forward_hook(pooling)
    return int(features.shape[1])


def _remove(network: nn.Module, unused: set[str]) -> None:
    """Take parameters out that never get a gradient; whole layers become `nn.Identity`.

    Distributed training would wait for their gradients; mask tokens are of pretraining only, and
    a pooler of another way to pool.
    """
    for path, module in list(network.named_modules()):
        inside = {f"{path}.{name}" for name, _ in module.named_parameters()}
        if path and inside and inside <= unused:
            replace_module(network, path, nn.Identity())
            unused = unused - inside
    for path in unused:
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, None)


def is_removed(network: nn.Module, key: str) -> bool:
    """Whether a tensor of this name is of what `add_pooling` has taken out."""
    parent, _, name = key.rpartition(".")
    module: nn.Module = network
    for part in filter(None, parent.split(".")):
        module = getattr(module, part, network)
        if isinstance(module, nn.Identity):
            return True
        if module is network:
            return False
    return name in module._parameters and module._parameters[name] is None


def current_names(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that this release of transformers gives them.

    Published files keep the names of the release that wrote them.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    changes = get_model_conversion_mapping(network)
    renamings = [change for change in changes if isinstance(change, WeightRenaming)]
    wanted = network.state_dict()
    rename: Callable[[str], str] = lambda key: rename_source_key(  # noqa: E731
        key, renamings, [], network.base_model_prefix, wanted
    )[0]
    return {key if key in wanted else rename(key): value for key, value in state.items()}


@contextmanager
def silenced() -> Iterator[None]:
    """Keep messages and progress bars of the libraries off the terminal."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    level, bars, hub_bars = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
    )
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()

"""Optimizers, the learning rate over a run, and the moving average of the weights."""

import math
import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.model.layers import layers_of
from deepchest_cli.weighting import Weighter

MOMENTUM = 0.9
# of more than one dimension, but offsets, scales, positions, tokens or mixing units: not to decay
# towards zero; by their names in torchvision, timm and transformers
UNDECAYED = re.compile(
    r"\.(bias|alpha|gamma|logit_scale|temperature)$"
    r"|\.(attention_biases|relative_position_bias_table|rel_pos_[hw]|(patch|pixel)_pos)$"
    r"|pos(ition)?_emb|pos_block|cpb_mlp|class_embedding|_tokens?_?\d*$"
)


def build_optimizer(model: nn.Module, weighter: Weighter, config: TrainConfig) -> Optimizer:
    """Return the optimizer; only matrices and kernels of the model decay.

    The first group has the learning rate of the head. Raises `UsageError` for `--layer-decay` and a
    model of a single layer.
    """
    return optimizer_of(parameter_groups(model, weighter, config), config)


def parameter_groups(
    model: nn.Module, weighter: Weighter, config: TrainConfig
) -> list[dict[str, Any]]:
    """Return the parameter groups of a model and of its weighter."""
    groups: list[dict[str, Any]] = []
    for scale, named in _by_rate(model, config):
        for decays, decay in ((True, config.weight_decay), (False, 0.0)):
            found = [p for name, p in named if _decays(name, p) == decays]
            groups.append({"params": found, "weight_decay": decay, "lr_scale": scale})
    groups.append({"params": list(weighter.parameters()), "weight_decay": 0.0, "lr_scale": 1.0})
    return [group for group in groups if group["params"]]


def optimizer_of(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """Return the optimizer of parameter groups."""
    rate = config.learning_rate
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, fused=True)
    return torch.optim.RMSprop(groups, lr=rate)


def _by_rate(
    model: nn.Module, config: TrainConfig
) -> Iterator[tuple[float, list[tuple[str, nn.Parameter]]]]:
    """Yield factors of the learning rate and the named parameters that have them, head first.

    Layer l of L below the head has the factor to the power L - l (Clark et al. 2020, ELECTRA; Bao
    et al. 2022, BEiT).
    """
    named = list(model.named_parameters())
    if config.layer_decay == 1:
        yield 1.0, named
        return
    layers = layers_of(model.get_submodule("trunk"))
    if len(layers) < 2:
        raise UsageError(
            f"--layer-decay: {config.backbone} has no layers to tell apart.",
            "Leave it out, or choose another --backbone.",
        )
    depths = {
        f"trunk.{name}": depth
        for depth, layer in enumerate(reversed(layers), start=1)
        for name in layer.parameters
    }
    for depth in range(len(layers) + 1):
        found = [(name, value) for name, value in named if depths.get(name, 0) == depth]
        yield config.layer_decay**depth, found


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not UNDECAYED.search(name)


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the rate of step number `step` of a run: linear warm-up, then cosine or constant.

    A pure function, so that it has no state to save.
    """
    warmup = min(config.warmup_steps, steps // 2)
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - warmup) / max(steps - warmup, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the head; every parameter group has its own multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


class MovingAverage:
    """The exponential moving average of a model's weights; buffers are those of the latest step.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the random initial weights soon
    lose their influence. The count of updates is a plain number: nothing waits for a device.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay
        self.updates = 0
        # of one kind each, which one kernel takes together
        self.parameters = _by_kind(self.module.parameters(), model.parameters())
        self.buffers = _by_kind(self.module.buffers(), model.buffers())

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights and buffers as they are now; the first time, copy them."""
        step = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for averages, latest in self.parameters:
            if self.updates:
                torch._foreach_lerp_(averages, latest, step)
            else:
                torch._foreach_copy_(averages, latest)
        for copies, latest in self.buffers:
            torch._foreach_copy_(copies, latest)
        self.updates += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Return weights, buffers and count, in the form of torch's `AveragedModel`."""
        values = self.module.state_dict(prefix="module.")
        return {"n_averaged": torch.tensor(self.updates), **values}

    def load_state_dict(self, values: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        weights = {name.removeprefix("module."): value for name, value in values.items()}
        self.updates = int(weights.pop("n_averaged"))
        self.module.load_state_dict(weights)


def _by_kind(
    copies: Iterable[Tensor], originals: Iterable[Tensor]
) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Return tensors in pairs of lists, each of one data type."""
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for copy, original in zip(copies, originals, strict=True):
        ours, theirs = kinds.setdefault(copy.dtype, ([], []))
        ours.append(copy)
        theirs.append(original)
    return list(kinds.values())

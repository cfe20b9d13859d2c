"""Optimizers, the learning rate over a run, and the moving average of the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from deepchest_cli.config import TrainConfig
from deepchest_cli.weighting import Weighter

MOMENTUM = 0.9
# of more than one dimension, but offsets, positions or mixing units: not to decay towards zero
UNDECAYED = (
    ".bias", ".alpha", ".logit_scale", "pos_embedding", "class_token",
    "relative_position_bias_table",
)  # fmt: skip


def build_optimizer(model: nn.Module, weighter: Weighter, config: TrainConfig) -> Optimizer:
    """Return the optimizer; only matrices and kernels of the model decay."""
    return optimizer_of(parameter_groups(model, weighter, config), config)


def parameter_groups(
    model: nn.Module, weighter: Weighter, config: TrainConfig
) -> list[dict[str, Any]]:
    """Return the parameter groups of a model and of its weighter."""
    named = list(model.named_parameters())
    groups: list[dict[str, Any]] = [
        {"params": [p for name, p in named if _decays(name, p) == decays], "weight_decay": decay}
        for decays, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    learned = list(weighter.parameters())
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0})
    return groups


def optimizer_of(groups: list[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """Return the optimizer of parameter groups."""
    rate = config.learning_rate
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, fused=True)
    return torch.optim.RMSprop(groups, lr=rate)


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and not name.endswith(UNDECAYED)


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
    """Set the learning rate of every parameter group, times the group's own factor if any."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def build_ema(model: nn.Module, decay: float) -> AveragedModel | None:
    """Return the exponential moving average of a model's weights; None for a decay of 0.

    The decay of update t is min(decay, (1 + t) / (10 + t)), so that the random initial weights soon
    lose their influence; buffers are those of the latest step.
    """
    if not decay:
        return None

    def update(averages: list[Tensor], latest: list[Tensor], updates: Tensor) -> None:
        # on the CPU; `updates` is a copy that would wait for a GPU
        count = int(ema_model.n_averaged)
        step = 1 - min(decay, (1 + count) / (10 + count))
        torch._foreach_lerp_(averages, latest, step)

    # torch types the lists as a union with tuples
    ema_model = AveragedModel(model, multi_avg_fn=update)  # type: ignore[arg-type]
    return ema_model

"""Optimisers and the learning rate over a run."""

import math

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deepchest_cli.config import TrainConfig
from deepchest_cli.weighting import Weighter

MOMENTUM = 0.9


def build_optimizer(model: nn.Module, weighter: Weighter, config: TrainConfig) -> Optimizer:
    """Return the optimiser; vectors (biases, norms) and learnt task weights do not decay."""
    parameters = list(model.parameters())
    groups = [
        {
            "params": [entry for entry in parameters if entry.ndim > 1],
            "weight_decay": config.weight_decay,
        },
        {"params": [entry for entry in parameters if entry.ndim <= 1], "weight_decay": 0.0},
    ]
    learnt = list(weighter.parameters())
    if learnt:
        groups.append({"params": learnt, "weight_decay": 0.0})
    rate = config.learning_rate
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, fused=True)
    return torch.optim.RMSprop(groups, lr=rate)


def build_schedule(optimizer: Optimizer, config: TrainConfig, steps: int) -> LambdaLR:
    """Return the learning rate over `steps`: a linear warm-up, then cosine to zero or constant."""
    warmup = min(config.warmup_steps, steps // 2)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if config.schedule == "constant":
            return 1.0
        progress = (step - warmup) / max(steps - warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

    return LambdaLR(optimizer, factor)

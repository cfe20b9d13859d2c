"""What is done about rare findings, from a configuration and the training part's labels."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import TrainConfig, parse_assignments
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.training.losses import (
    AsymmetricLoss,
    FocalLoss,
    LabelLoss,
    PriorAwareLoss,
    cross_entropy,
)

LOSSES: Mapping[str, Callable[..., LabelLoss]] = {"focal": FocalLoss, "asymmetric": AsymmetricLoss}


def build_loss(
    config: TrainConfig,
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    device: torch.device,
) -> LabelLoss:
    """Return the loss of a label; positives and negatives (T,) are those of a training epoch.

    A finding without known positives, or without negatives, keeps weight 1 and its logits.
    Raises `UsageError` for an option that the loss does not have or that is out of its range.
    """
    base = _base_loss(config)
    if not config.pos_weight_power and not config.logit_adjustment:
        return base
    ratio = np.ones_like(positives)
    np.divide(negatives, positives, out=ratio, where=(positives > 0) & (negatives > 0))
    weight = torch.tensor(ratio**config.pos_weight_power, dtype=torch.float32, device=device)
    odds = torch.tensor(-np.log(ratio), dtype=torch.float32, device=device)
    return PriorAwareLoss(base, weight, config.logit_adjustment * odds)


def counts_of(
    labels: NDArray[np.uint8],
    known: NDArray[np.uint8],
    chances: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the known positives and negatives of each finding (T,) in an epoch.

    With the chances (N,) of the images, those to be expected.
    """
    draws = np.ones(len(labels)) if chances is None else chances * len(labels)
    positives = draws @ (labels & known)
    return positives, draws @ known - positives


def _base_loss(config: TrainConfig) -> LabelLoss:
    options = parse_assignments(config.loss_option, "--loss-option")
    if config.loss not in LOSSES:
        if options:
            raise UsageError(
                f"The loss {config.loss!r} has no options. Found {next(iter(options))!r}.",
                "Choose --loss focal or --loss asymmetric.",
            )
        return cross_entropy
    factory = LOSSES[config.loss]
    names = [field.name for field in fields(factory)]  # type: ignore[arg-type]
    values = {}
    for key, text in options.items():
        if key not in names:
            raise unknown_name(f"option of the loss {config.loss!r}:", key, names)
        values[key] = _number(key, text)
    return factory(**values)


def _number(key: str, text: str) -> float:
    largest = 1.0 if key == "margin" else 100.0
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= largest:
        raise UsageError(f"Option {key!r} should be from 0 to {largest:g}. Found {text!r}.")
    return value


def balanced_chances(labels: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the chance (N,) of each image under class-balanced sampling.

    It is that of first drawing a finding, or none, evenly and then one of its images evenly.
    """
    positive = (labels & known).astype(np.float64)
    without = (positive.sum(axis=1, keepdims=True) == 0).astype(np.float64)
    classes = np.concatenate([positive, without], axis=1)
    sizes = classes.sum(axis=0)
    chances = (classes[:, sizes > 0] / sizes[sizes > 0]).sum(axis=1)
    return np.asarray(chances / chances.sum())

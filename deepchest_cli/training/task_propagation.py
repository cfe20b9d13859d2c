"""The gradients of a step under a weighter that sees those of single tasks.

The loss L_i of finding i depends on its own logits only, and the task layer computes these from
the features (B, D) by a row of its own. So the gradient of L_i by the features is the product of
two vectors that are at hand: its gradient by the logits (B,), and the row (D,). Every process has
the former for the whole batch, and takes its own part of the direction that follows.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.forward import Outputs
from deepchest_cli.training.propagation import Outcome, Propagation
from deepchest_cli.training.setup import Setup
from deepchest_cli.weighting import GradientWeighter, TaskLosses


@dataclass(frozen=True)
class Seen:
    """What a step is known to be before its way back."""

    losses: TaskLosses
    by_logits: Tensor  # (B, T), column by column a task's gradient by its logits
    own: Tensor  # (B, T), the same times the task's weight for the parameters that are its own
    parts: list[Tensor]
    outputs: Iterator[Outputs]  # of each part


class TaskPropagation(Propagation):
    """What the three ways of using the gradients of tasks have in common."""

    def __init__(self, setup: Setup, weighter: GradientWeighter) -> None:
        super().__init__(setup)
        self.weighter = weighter
        layer = setup.classifier.task_layer
        assert isinstance(layer, nn.Linear)  # or the run has been refused
        self.task_layer = layer

    def __call__(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Compute the gradients of step number `step`, see `Propagation`."""
        logits, outputs = self.looked_at(parts, step)
        self.weighter.observe(logits, batch.labels, batch.known)
        losses, by_logits = self.objective.by_task(logits, batch.labels, batch.known)
        # the type first: Metal has no double precision
        own = by_logits * self.weighter.head_weights.to(by_logits.dtype).to(by_logits.device)
        weights = self.propagate(Seen(losses, by_logits, own, parts, outputs))
        return Outcome(losses, logits, weights)

    @abstractmethod
    def propagate(self, seen: Seen) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""

    def by_features(self, by_logits: Tensor) -> Tensor:
        """Return each task's gradient (T, b, D) by the features, of that by its logits (b, T)."""
        return torch.einsum("bt,td->tbd", by_logits, self.task_layer.weight.detach())

    def scaled(self, gradient: Tensor) -> Tensor:
        """Return a gradient times the factor that keeps it within half precision."""
        scaled: Tensor = self.setup.scaler.scale(gradient)
        return scaled


class FeaturePropagation(TaskPropagation):
    """Combines the gradients by the features; one way back from there, whatever the method."""

    def propagate(self, seen: Seen) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        jacobian = self.by_features(seen.by_logits)  # (T, B, D)
        direction = self.weighter(seen.losses, jacobian.flatten(1)).view(jacobian.shape[1:])
        shares = (self.shares(direction, seen.parts), self.shares(seen.own, seen.parts))
        for (features, logits), direct, own in zip(seen.outputs, *shares, strict=True):
            instead = _instead(self.scaled(direct) * self.setup.ranks.count)
            handle = features.register_hook(instead)  # type: ignore[no-untyped-call]
            self.back(logits, self.scaled(own))
            handle.remove()
        return self.weighter.weights


def _instead(direction: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a hook that puts a direction in the place of the gradient that arrives."""
    return lambda arriving: direction.to(arriving.dtype)

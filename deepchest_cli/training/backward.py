"""The backward pass of a step, from the logits of all processes to the gradients of the model.

Autograd starts at the logits. The losses above them are small, so every process computes them for
the logits of the whole step: weighters see the same losses everywhere, whatever the number of
processes and of micro-batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.forward import Forward, Outputs
from deepchest_cli.weighting import GradientWeighter, LossWeighter, TaskLosses
from deepchest_cli.weighting.base import to_like
from deepchest_cli.weighting.losses import LabelLoss, task_losses


@dataclass(frozen=True)
class StepResult:
    """Losses, logits and weights of a step before its update, the same in all processes."""

    losses: TaskLosses
    logits: Tensor  # (B, T)
    weights: Tensor | None  # (T,), as used


class BackwardStrategy(ABC):
    """Leaves the gradients of a step in the parameters of the model and of the weighter."""

    # whether torch averages the gradients over the processes
    average_gradients: ClassVar[bool] = True

    def __init__(self, components: TrainingComponents) -> None:
        self.components = components
        self.forward = Forward(components, self.average_gradients)

    @abstractmethod
    def __call__(self, micro_batches: list[Tensor], batch: Batch, step: int) -> StepResult:
        """Compute the gradients of step number `step`.

        micro_batches: the network's input, this process's rows of the batch.
        batch: its labels are those of all processes.
        """

    def losses(self, logits: Tensor, batch: Batch) -> TaskLosses:
        """Return the losses of the tasks for logits (B, T), without gradients."""
        with torch.no_grad():
            return task_losses(logits, batch.labels, batch.known, self.components.label_loss)

    def split(self, whole: Tensor, micro_batches: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the rows (b, ...) of this process's micro-batches among those (B, ...) of all."""
        sizes = [len(micro_batch) for micro_batch in micro_batches]
        first = self.components.distributed.rank * sum(sizes)
        return torch.split(whole[first : first + sum(sizes)], sizes)

    def backward(self, logits: Tensor, gradient: Tensor) -> None:
        """Back-propagate the objective's gradient (b, T) by the logits of a micro-batch."""
        # processes average their gradients, and the objective is a sum over their radiographs
        processes = self.components.distributed.world_size
        torch.autograd.backward(logits, gradient.to(logits.dtype) * processes)


class LossBackward(BackwardStrategy):
    """For loss weighters: one objective, one backward pass."""

    def __init__(self, components: TrainingComponents, weighter: LossWeighter) -> None:
        super().__init__(components)
        self.weighter = weighter

    def __call__(self, micro_batches: list[Tensor], batch: Batch, step: int) -> StepResult:
        """Compute the gradients of step number `step`, see `BackwardStrategy`."""
        if len(micro_batches) > 1 and self.weighter.additive:
            return self._accumulate(micro_batches, batch, step)
        logits, outputs = self.forward.all_logits_first(micro_batches, step)
        self.weighter.observe(logits, batch.labels, batch.known)
        losses, gradient = self._objective(logits, batch.labels, batch.known)
        rows = self.split(gradient, micro_batches)
        for (_, local_logits), local_gradient in zip(outputs, rows, strict=True):
            self.backward(local_logits, local_gradient)
        return StepResult(losses, logits, self.weighter.weights)

    def _accumulate(self, micro_batches: list[Tensor], batch: Batch, step: int) -> StepResult:
        """Compute each micro-batch once: the objective is the sum of the micro-batches' own."""
        labels, known = (self.split(x, micro_batches) for x in (batch.labels, batch.known))
        known_counts, local = batch.known.sum(dim=0), []
        for number, (_, logits) in enumerate(self.forward.micro_batches(micro_batches, step)):
            local.append(logits.detach())
            _, gradient = self._objective(local[-1], labels[number], known[number], known_counts)
            self.backward(logits, gradient)
        all_logits = self.components.distributed.all_gather(torch.cat(local))
        self.weighter.observe(all_logits, batch.labels, batch.known)
        return StepResult(self.losses(all_logits, batch), all_logits, self.weighter.weights)

    def _objective(
        self, logits: Tensor, labels: Tensor, known: Tensor, known_counts: Tensor | None = None
    ) -> tuple[TaskLosses, Tensor]:
        """Return the losses and the (scaled) gradient of the objective by the logits (B, T).

        `known_counts` (T,) are those of the whole step where the logits are a micro-batch's.
        Parameters of the weighter receive their gradients too.
        """
        leaf = logits.detach().requires_grad_()
        losses = task_losses(leaf, labels, known, self.components.label_loss, known_counts)
        self.components.scaler.scale(self.weighter(losses)).backward()
        assert leaf.grad is not None
        return TaskLosses(losses.values.detach(), losses.known), leaf.grad


def task_logit_gradients(
    logits: Tensor, labels: Tensor, known: Tensor, label_loss: LabelLoss
) -> tuple[TaskLosses, Tensor]:
    """Return the losses and, column by column, the gradient of each by its logits (B, T).

    A task's loss depends on its own logits only, so one pass gives the gradients of all.
    """
    # in single precision: these gradients are scaled only later, and small ones would vanish
    leaf = logits.detach().float().requires_grad_()
    losses = task_losses(leaf, labels, known, label_loss)
    (gradient,) = torch.autograd.grad(losses.values.sum(), leaf)
    return TaskLosses(losses.values.detach(), losses.known), gradient


@dataclass(frozen=True)
class TaskGradients:
    """The gradients of a step's tasks by their logits, and the outputs to continue from."""

    losses: TaskLosses
    by_logits: Tensor  # (B, T), column by column each task's own
    for_head: Tensor  # (B, T), the same times the weight of the task's own parameters
    present: tuple[int, ...]  # numbers of the tasks that are present
    micro_batches: list[Tensor]
    outputs: Iterator[Outputs]  # of each micro-batch


class TaskBackward(BackwardStrategy):
    """For gradient weighters: what their strategies have in common.

    The task layer computes the logits of a task from the features (B, D) by a row of its own. So
    the gradient of a task's loss by the features is the product of two vectors: its gradient by
    the logits (B,) and the row (D,).
    """

    def __init__(self, components: TrainingComponents, weighter: GradientWeighter) -> None:
        super().__init__(components)
        self.weighter = weighter
        layer = components.classifier.task_layer
        assert isinstance(layer, nn.Linear)  # or the run has been refused
        self.task_layer = layer

    def __call__(self, micro_batches: list[Tensor], batch: Batch, step: int) -> StepResult:
        """Compute the gradients of step number `step`, see `BackwardStrategy`."""
        logits, outputs = self.forward.all_logits_first(micro_batches, step)
        self.weighter.observe(logits, batch.labels, batch.known)
        losses, by_logits = task_logit_gradients(
            logits, batch.labels, batch.known, self.components.label_loss
        )
        for_head = by_logits * to_like(self.weighter.head_weights, by_logits)
        present = batch.present
        gradients = TaskGradients(losses, by_logits, for_head, present, micro_batches, outputs)
        return StepResult(losses, logits, self.combine(gradients))

    @abstractmethod
    def combine(self, gradients: TaskGradients) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""

    def by_features(self, by_logits: Tensor) -> Tensor:
        """Return each task's gradient by the features (T, b, D) from that by its logits (b, T)."""
        return torch.einsum("bt,td->tbd", by_logits, self.task_rows())

    def task_rows(self) -> Tensor:
        """Return the row (K, D) of the task layer that computes each task's logits."""
        return self.components.tasks.expand(self.task_layer.weight.detach().T).T

    def scaled(self, gradient: Tensor) -> Tensor:
        """Return a gradient times the loss scale of fp16."""
        scaled: Tensor = self.components.scaler.scale(gradient)
        return scaled


class FeatureBackward(TaskBackward):
    """Combines the tasks' gradients by the features; one backward pass from there."""

    def combine(self, gradients: TaskGradients) -> Tensor | None:
        """Leave the gradients in the parameters; return the weights (T,) that were used."""
        jacobian = self.by_features(gradients.by_logits)  # (T, B, D)
        combined = self.weighter(gradients.losses, jacobian.flatten(1)).view(jacobian.shape[1:])
        rows = (self.split(x, gradients.micro_batches) for x in (combined, gradients.for_head))
        processes = self.components.distributed.world_size
        for (features, logits), by_features, for_head in zip(gradients.outputs, *rows, strict=True):
            replace = _gradient_replacement(self.scaled(by_features) * processes)
            # below frozen features there is nothing to train
            handle = features.register_hook(replace) if features.requires_grad else None
            self.backward(logits, self.scaled(for_head))
            if handle:
                handle.remove()
        return self.weighter.weights


def _gradient_replacement(gradient: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a hook that puts `gradient` in the place of the one that autograd computed."""
    return lambda computed: gradient.to(computed.dtype)

"""From a step's logits to the gradient by them: loss of a label, losses of tasks, objective.

The network's backward pass begins at the logits. What stands between them and the objective is
small, so every process computes all of it, on all logits of the step: weighters see the same
losses everywhere, whatever the number of processes and of parts that a step is computed in.
"""

import torch
from torch import Tensor

from deepchest_cli.training.losses import LabelLoss, task_losses
from deepchest_cli.weighting import LossWeighter, TaskLosses


class Objective:
    """A weighter over the losses of labels."""

    def __init__(
        self, weighter: LossWeighter, label_loss: LabelLoss, scaler: torch.amp.GradScaler
    ) -> None:
        self.weighter = weighter
        self.label_loss = label_loss
        self.scaler = scaler
        self.used: Tensor | None = None  # the task weights (T,) of the step under way

    def losses(self, logits: Tensor, labels: Tensor, known: Tensor) -> TaskLosses:
        """Return the losses of the tasks, without gradients; all arguments are (B, T)."""
        with torch.no_grad():
            return task_losses(logits, labels, known, self.label_loss)

    def gradient(
        self, logits: Tensor, labels: Tensor, known: Tensor, counts: Tensor | None = None
    ) -> tuple[TaskLosses, Tensor]:
        """Return the losses and the (scaled) gradient by the logits (B, T) of the objective.

        `counts` (T,) are the known labels of the whole step where the logits are a part of it.
        Parameters of the weighter receive their gradients on the way.
        """
        leaf = logits.detach().requires_grad_()
        losses = task_losses(leaf, labels, known, self.label_loss, counts)
        objective = self.weighter(losses)
        self.used = self.weighter.weights
        self.scaler.scale(objective).backward()
        assert leaf.grad is not None
        return TaskLosses(losses.values.detach(), losses.known), leaf.grad

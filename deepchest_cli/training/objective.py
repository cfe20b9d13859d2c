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
    """The losses of tasks, and their gradients by the logits; arguments are (B, T)."""

    def __init__(self, label_loss: LabelLoss, scaler: torch.amp.GradScaler) -> None:
        self.label_loss = label_loss
        self.scaler = scaler

    def losses(self, logits: Tensor, labels: Tensor, known: Tensor) -> TaskLosses:
        """Return the losses of the tasks, without gradients."""
        with torch.no_grad():
            return task_losses(logits, labels, known, self.label_loss)

    def gradient(
        self,
        weighter: LossWeighter,
        logits: Tensor,
        labels: Tensor,
        known: Tensor,
        counts: Tensor | None = None,
    ) -> tuple[TaskLosses, Tensor]:
        """Return the losses and the (scaled) gradient by the logits (B, T) of the objective.

        `counts` (T,) are the known labels of the whole step where the logits are a part of it.
        Parameters of the weighter receive their gradients on the way.
        """
        leaf = logits.detach().requires_grad_()
        losses = task_losses(leaf, labels, known, self.label_loss, counts)
        self.scaler.scale(weighter(losses)).backward()
        assert leaf.grad is not None
        return _without_graph(losses), leaf.grad

    def by_task(self, logits: Tensor, labels: Tensor, known: Tensor) -> tuple[TaskLosses, Tensor]:
        """Return the losses and, column by column, each one's gradient by its logits (B, T).

        A task's loss depends on its own logits only, so that one pass gives the gradients of all.
        """
        # in single precision: these gradients are scaled only later, and small ones would vanish
        leaf = logits.detach().float().requires_grad_()
        losses = task_losses(leaf, labels, known, self.label_loss)
        (gradient,) = torch.autograd.grad(losses.values.sum(), leaf)
        return _without_graph(losses), gradient


def _without_graph(losses: TaskLosses) -> TaskLosses:
    return TaskLosses(losses.values.detach(), losses.known)

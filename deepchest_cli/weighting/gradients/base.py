"""What every weighter is that needs the gradients of single tasks."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses, Weighter

# a norm below this share of the largest is none: single precision ends there
NO_GRADIENT = 1e-7
AT_ONCE = 2**18  # columns of a jacobian that are turned to double precision, one copy at a time
BLOCK = 2**12  # of more columns so many are added up in the gradients' own precision


class GradientWeighter(Weighter):
    """A weighter that sees each task's gradient by what all tasks share.

    That is either the batch's last shared features, or the parameters before them; a task's
    gradient by what it shares with no other goes by `head_weights` alone.
    """

    # whether its weights follow from the steps before, and of a step's gradients the lengths alone
    # count; these are then taken at the last shared layer, and the objective is the sum of w_i L_i
    ahead: ClassVar[bool] = False

    @abstractmethod
    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) that takes the place of the shared part's gradient.

        jacobian (T, K): row i is the gradient of `losses.values[i]`, zero for an absent task.
        """

    @property
    def head_weights(self) -> Tensor:
        """The weight (T,) of each task's loss for the parameters that are its own."""
        return torch.ones(len(self.tasks), dtype=torch.float64)


def gramian_of(jacobian: Tensor) -> Tensor:
    """Return the products (T, T) of all pairs of rows, in double precision on the CPU.

    What is small decides in these methods, and solvers work on the CPU in any case. Gradients of
    whole models are multiplied block by block in their own precision, for a fifth of the time.
    """
    # the device first: Metal has no double precision
    source = jacobian.cpu() if jacobian.device.type == "mps" else jacobian
    blocks = source.shape[1] // BLOCK if source.shape[1] > AT_ONCE else 0
    in_blocks, rest = source[:, : blocks * BLOCK], source[:, blocks * BLOCK :].double()
    total = rest @ rest.T
    if blocks:
        stacked = in_blocks.reshape(len(source), blocks, BLOCK).transpose(
            0, 1
        )  # (blocks, T, BLOCK)
        total += torch.bmm(stacked, stacked.mT).sum(dim=0, dtype=torch.float64)
    return total.cpu()


def sum_of(weights: Tensor, jacobian: Tensor) -> Tensor:
    """Return the sum (K,) of the rows of a jacobian (T, K) times weights (T,) in double precision.

    Where gradients cancel, their sum in single precision can lead elsewhere than the weights say:
    it is in double precision where the products are, but for Metal, which has none.
    """
    large = jacobian.shape[1] > AT_ONCE or jacobian.device.type == "mps"
    kind = jacobian.dtype if large else torch.float64
    # the type first: Metal has no double precision
    return (weights.to(kind).to(jacobian.device) @ jacobian.to(kind)).to(jacobian.dtype)


def tasks_with_gradient(losses: TaskLosses, norms: Tensor) -> Tensor:
    """Return which tasks (T,) are present and have a gradient, on the CPU as their norms (T,).

    One that has none (converged, or at a rest of its own) would hold up all others where a method
    looks for what is good for every task.
    """
    return losses.present.cpu() & (norms > norms.max() * NO_GRADIENT)

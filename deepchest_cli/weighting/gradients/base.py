"""What every weighter is that needs the gradients of single tasks."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses, Tasks, Weighter, to_like

MIN_RELATIVE_NORM = 1e-7  # of the largest norm; below it single precision has no digits left
MAX_DOUBLE_COLUMNS = 2**18  # of a jacobian that is converted to double precision as a whole
BLOCK = 2**12  # columns of a wider one that are summed in the gradients' own precision


class GradientWeighter(Weighter):
    """A weighter that needs each task's gradient by what all tasks share.

    Gradients are taken at the batch's last shared features or at the parameters before them; the
    gradient of a task's own head is scaled by `head_weights` alone.
    """

    # whether a step uses the weights of the steps before, and only the norms of its gradients
    # matter; these are then taken at the last shared layer, and the objective is sum of w_i L_i
    uses_previous_weights: ClassVar[bool] = False
    equal_weights: Tensor  # (T,), ones

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks)
        # a buffer lies where the weighter has been moved to, so that no step copies it
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("equal_weights", ones, persistent=False)

    @abstractmethod
    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) that takes the place of the shared part's gradient.

        jacobian (T, K): row i is the gradient of `losses.values[i]`, zero for an absent task.
        """

    @property
    def head_weights(self) -> Tensor:
        """The weight (T,) of each task's loss for the parameters of its own head."""
        return self.equal_weights.clone()


def gramian_of(jacobian: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the products (T, T) of all pairs of rows in double precision, and a mask (T,).

    jacobian (T, K); present: the mask. Both are returned on the CPU, where the solvers run; a
    device is waited for once. Small differences decide in these methods. Gradients of whole models
    are multiplied block by block in their own precision, in a fifth of the time.
    """
    blocks = jacobian.shape[1] // BLOCK if jacobian.shape[1] > MAX_DOUBLE_COLUMNS else 0
    stacked = jacobian[:, : blocks * BLOCK].reshape(len(jacobian), blocks, BLOCK).transpose(0, 1)
    products, rest = torch.bmm(stacked, stacked.mT), jacobian[:, blocks * BLOCK :]
    if jacobian.device.type == "mps":  # which has no double precision
        products, rest, present = _on_cpu(products, rest, present)
        return _total(products, rest), present > 0
    gramian, present = _on_cpu(_total(products, rest), present)
    return gramian, present > 0


def _total(products: Tensor, rest: Tensor) -> Tensor:
    """Return the sum (T, T) of blocks' products (n, T, T) and of those of the rows (T, r)."""
    rest = rest.double()
    total = rest @ rest.T
    return total + products.sum(dim=0, dtype=torch.float64) if len(products) else total


def _on_cpu(first: Tensor, *more: Tensor) -> list[Tensor]:
    """Return tensors of one device on the CPU; one copy, in the precision of the first."""
    tensors = [first, *more]
    if first.device.type == "cpu":
        return tensors
    packed = torch.cat([tensor.flatten().to(first.dtype) for tensor in tensors]).cpu()
    parts = torch.split(packed, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def sum_of(weights: Tensor, jacobian: Tensor) -> Tensor:
    """Return the sum (K,) of the rows of a jacobian (T, K) times weights (T,).

    Where gradients cancel, rounding in single precision would change the direction: the sum is in
    double precision where the products are, except on Metal, which has none.
    """
    is_single = jacobian.shape[1] > MAX_DOUBLE_COLUMNS or jacobian.device.type == "mps"
    rows = jacobian if is_single else jacobian.double()
    return (to_like(weights, rows) @ rows).to(jacobian.dtype)


def active_tasks(present: Tensor, norms: Tensor) -> Tensor:
    """Return which tasks (T,) are present and have a gradient, by its norm (T,).

    A method that seeks a direction good for every task would stand still at one without gradient.
    """
    return present & (norms > norms.max() * MIN_RELATIVE_NORM)

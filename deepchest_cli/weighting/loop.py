"""A step of a training loop of one's own: what is back-propagated, and a second look at a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import LossWeighter, TaskLosses, Weighter, to_like
from deepchest_cli.weighting.gradients.base import GradientWeighter


def objective(weighter: Weighter, losses: TaskLosses, features: Tensor | None = None) -> Tensor:
    """Return the scalar to back-propagate in a loop of one's own, for a weighter of any kind.

    features: the last tensor that all tasks share, of any shape and with its graph; only
    gradient-based methods need it. Layers before it then receive the weighter's direction as
    gradient, layers after it (the heads) the gradient of their own losses. GradNorm balances the
    gradients of the features, as if these were the last shared layer. The scalar may be scaled
    before its backward pass, as mixed precision and gradient accumulation do.

    Raises `UsageError` where the number of losses is not that of the weighter's tasks, or where the
    features are needed and missing.
    """
    if len(losses.values) != len(weighter.tasks):
        raise UsageError(
            f"{len(losses.values)} losses were given to a weighter of {len(weighter.tasks)} tasks.",
            f"Its tasks are {', '.join(weighter.tasks)}.",
        )
    if isinstance(weighter, LossWeighter):
        plain: Tensor = weighter(losses)
        return plain
    assert isinstance(weighter, GradientWeighter)
    if features is None or not features.requires_grad:
        found = "none were given" if features is None else "those given have no graph"
        raise UsageError(
            f"{type(weighter).__name__} needs the gradients of the features, and {found}.",
            "Give objective(weighter, losses, features) the tensor that the heads are computed "
            "from, in a step that is trained.",
        )
    head_weights = to_like(weighter.head_weights, losses.values)  # as they are before the step
    direction = _direction(weighter, losses, features)
    return _directed((head_weights * losses.values).sum(), features, direction)


def _direction(weighter: GradientWeighter, losses: TaskLosses, features: Tensor) -> Tensor:
    """Return the gradient for the features, in their shape, that the weighter decides on."""
    rows = [
        torch.autograd.grad(loss, features, retain_graph=True, materialize_grads=True)[0]
        for loss in losses.values
    ]
    jacobian, processes = torch.stack(rows).flatten(1), losses.processes
    if processes == 1:
        direction: Tensor = weighter(losses, jacobian)
        return direction.view_as(features)
    # the features of the whole batch, which all processes see; each goes on with its own
    pieces = [torch.empty_like(jacobian) for _ in range(processes)]
    dist.all_gather(pieces, jacobian / processes)
    whole = weighter(losses, torch.cat(pieces, dim=1))
    own: Tensor = whole.chunk(processes)[dist.get_rank()] * processes
    return own.view_as(features)


def _directed(total: Tensor, features: Tensor, direction: Tensor) -> Tensor:
    """Return a scalar whose backward pass goes on with another gradient from the features."""
    scales: list[Tensor] = []  # of the backward pass under way

    def replace(computed: Tensor) -> Tensor | None:
        if not scales:  # the backward pass of something else
            return None
        return (scales.pop() * direction).to(computed.dtype)

    total.register_hook(scales.append)  # type: ignore[no-untyped-call]
    features.register_hook(replace)  # type: ignore[no-untyped-call]
    return total


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Compute without gradients, and leave buffers and random numbers as they were.

    For `after_step`: a model in training that sees a batch a second time would count it twice in
    the statistics of its batch norms, and shift the random numbers of the steps to come.
    """
    devices = {value.device.index for value in model.parameters() if value.is_cuda}
    with torch.random.fork_rng([*devices]), torch.no_grad(), buffers_restored(model):
        yield


@contextmanager
def buffers_restored(model: nn.Module) -> Iterator[None]:
    """Restore a model's buffers afterwards: batch norm's statistics."""
    before = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(model.buffers(), before, strict=True):
                buffer.copy_(value)

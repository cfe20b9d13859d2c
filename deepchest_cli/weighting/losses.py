"""From logits to one loss a task, of a batch in one process or of one that processes share."""

from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses

LabelLoss = Callable[[Tensor, Tensor], Tensor]  # logits (B, T), labels (B, T) to losses (B, T)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of each label (B, T)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def task_losses(
    logits: Tensor,
    labels: Tensor,
    known: Tensor | None = None,
    label_loss: LabelLoss = cross_entropy,
    known_counts: Tensor | None = None,
) -> TaskLosses:
    """Return the mean loss of each finding (T,) over its known labels.

    logits, labels, known (the label mask): (B, T). Without a mask, a label that is NaN is unknown.
    An unknown label contributes neither value nor gradient. For a micro-batch, `known_counts` (T,)
    are those of the whole batch: the losses of micro-batches then add up to those of the batch.
    """
    if known is None:
        labels, known = split_mask(labels)
    # masked before the loss: zero times a gradient that is not finite would not be zero
    each = label_loss(torch.where(known, logits.float(), 0.0), labels)
    counts = known.sum(dim=0) if known_counts is None else known_counts
    shares = known / counts.clamp(min=1)  # (B, T), mask and division of the mean in one
    return TaskLosses((each * shares).sum(dim=0), counts)


def split_mask(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels (B, T) with 0 for NaN, in single precision, and which are not NaN."""
    labels = labels.float()
    return labels.nan_to_num(), ~labels.isnan()


def across_processes(losses: TaskLosses) -> TaskLosses:
    """Return the losses (T,) over the batches of all processes, where torch has several.

    Their values are the same in every process, and so are the weights that follow from them. Their
    gradients are those of this process's batch, scaled so that the mean over the processes, which
    DistributedDataParallel takes, is the gradient of the whole.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return losses
    processes = dist.get_world_size()
    sums = torch.stack([losses.values.detach() * losses.known, losses.known.float()])
    dist.all_reduce(sums)
    counts = sums[1].clamp(min=1)
    local = losses.values * (losses.known * processes / counts)
    return TaskLosses(local + (sums[0] / counts - local).detach(), sums[1], processes)

"""A gradient weighter in anybody's training loop: one call in place of `loss.backward()`."""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses
from deepchest_cli.weighting.gradients.base import GradientWeighter


def backward(weighter: GradientWeighter, losses: TaskLosses, features: Tensor) -> None:
    """Back-propagate the losses; the weighter decides what goes on behind the features.

    features: what all tasks share last, of any shape and with its graph. What comes before it
    gets the weighter's direction as its gradient; what comes after it (the heads) gets that of
    its own losses. GradNorm then balances the gradients by the features, which is as if the last
    shared layer were they.
    """
    own = weighter.head_weights.to(losses.values.dtype).to(losses.values.device)
    rows = [
        torch.autograd.grad(loss, features, retain_graph=True, materialize_grads=True)[0]
        for loss in losses.values
    ]
    direction = weighter(losses, torch.stack(rows).flatten(1))
    handle = features.register_hook(  # type: ignore[no-untyped-call]
        lambda _: direction.view_as(features)
    )
    (own * losses.values).sum().backward()  # type: ignore[no-untyped-call]
    handle.remove()

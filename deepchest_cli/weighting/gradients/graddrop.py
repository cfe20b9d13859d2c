"""GradDrop (Chen et al. 2020, "Just Pick a Sign", arXiv 2010.06808).

For each of the K components of the gradients, over the active tasks:
    P = (1 + sum of g_i / sum of |g_i|) / 2,   and U drawn evenly from 0 to 1
    P > U: only positive values count; P < U: only negative ones
    direction = the sum of those that count, and of a share `leak` of the others
The direction is no weighted sum of gradients: the trace has no weights. A loss may be raised.

The paper has one P and one U for a feature, from sums over the batch of the gradients times the
features' signs. Here each image's features have their own: the same rule on more components.

A step waits for a device once, to know whether its gradients are finite: only then it draws.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import Context, TaskLosses, Tasks, check_option
from deepchest_cli.weighting.gradients.aggregated import AggregatedWeighter


class GradDropWeighter(AggregatedWeighter):
    """A direction in which only one sign of each gradient component counts.

    leak: from 0 to 1, the share that gradients of the other sign keep; 0 in the paper.
    """

    name = "graddrop"

    def __init__(self, tasks: Tasks, leak: float = 0.0, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("graddrop", "leak", leak, 0 <= leak <= 1, "from 0 to 1")
        self.leak = leak

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,); rows of zeros do not count."""
        gradients = jacobian.detach()
        positive, negative = gradients.clamp(min=0).sum(dim=0), gradients.clamp(max=0).sum(dim=0)
        total = positive + negative
        if not total.isfinite().all():
            return total
        generator = torch.Generator(total.device).manual_seed(self.draw_seed())
        drawn = torch.rand(  # U
            total.shape, generator=generator, dtype=total.dtype, device=total.device
        )
        share = positive / (positive - negative)  # P, NaN where all gradients are zero
        kept = torch.where(share > drawn, positive, torch.where(share < drawn, negative, 0.0))
        return self.leak * total + (1 - self.leak) * kept

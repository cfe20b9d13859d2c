"""Nash-MTL (Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", arXiv 2202.01017).

Over the tasks that take part, with G the products of their gradients over the norm of all these:
    w = the weights above 0 with G w = 1 / w,   by 20 steps of their sequence of convex problems
    direction = sum of w_i g_i, shortened to max_norm where it is longer
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, SolvedWeighter


class NashWeighter(SolvedWeighter):
    """Weights that no task would bargain about: each gains as much, relative to what it could.

    max_norm: 0 or above, the longest direction; 1 in the authors' code; 0: any.

    The search begins at the last weights, and keeps them where it finds none, as in that code.
    """

    name = "nash-mtl"
    latest: Tensor

    def __init__(
        self, tasks: Sequence[str], max_norm: float = 1.0, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 <= max_norm < math.inf:
            raise UsageError(
                f"Option 'max_norm' of nash-mtl should be 0 or above. Found {max_norm}."
            )
        self.max_norm = max_norm
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("latest", ones)  # before they are shortened

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        latest = self.latest.cpu()
        weights = adapter.nash_mtl(gramian, latest[taking_part]).double()
        if weights.isfinite().all():
            self.latest.copy_(latest.masked_scatter(taking_part, weights))
        length = float((weights @ gramian @ weights).clamp(min=0) * scale) ** 0.5
        longest = self.max_norm or math.inf
        return weights * min(1.0, longest / length) if length > 0 else weights

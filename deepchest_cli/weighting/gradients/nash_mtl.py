"""Nash-MTL (Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", arXiv 2202.01017).

Over the tasks that take part, with g_i the gradient of task i and G the products of all gradients,
divided by the norm of all these:
    w = the weights above 0 with G w = 1 / w
    direction = sum of w_i g_i, shortened to max_norm where it is longer
The authors approach w by a sequence of convex problems; here it is found exactly.

Guaranteed: every g_i . d is above zero, so that no loss is raised. Where some average of the
gradients is zero no direction lowers all losses: there are no such weights, which counts as a
failure of the solver.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, SolvedWeighter
from deepchest_cli.weighting.gradients.fairness import fair_weights


class NashWeighter(SolvedWeighter):
    """Weights that no task would bargain about: each gains as much, relative to what it could.

    max_norm: 0 or above, the longest direction; 1 in the authors' code; 0: any.
    """

    name = "nash-mtl"

    def __init__(
        self, tasks: Sequence[str], max_norm: float = 1.0, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 <= max_norm < math.inf:
            raise UsageError(
                f"Option 'max_norm' of nash-mtl should be 0 or above. Found {max_norm}."
            )
        self.max_norm = max_norm

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        weights = fair_weights(gramian / gramian.norm(), alpha=1.0)
        length = float(weights @ gramian @ weights * scale) ** 0.5
        shorter = min(1.0, (self.max_norm or math.inf) / length)
        return weights.mul(shorter)

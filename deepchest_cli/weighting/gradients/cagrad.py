"""CAGrad (Liu, Liu, Jin, Stone and Liu 2021, arXiv 2110.14048).

Over the m tasks that take part, with g_i the gradient of task i and g_0 the mean of all:
    direction = the d with |d - g_0| <= c |g_0| that is best for the worst-off task, which is
              = g_0 + c |g_0| g_w / |g_w|,   g_w = sum of w_i g_i,
    w = the weights, 0 or above and of sum 1, for which g_w . g_0 + c |g_0| |g_w| is least
The search for w is a search for one number: w is the shortest average of all g_i + s g_0, for the s
at which |g_w| = s c |g_0|. The authors minimise over w by a general solver.

Guaranteed: no direction in the ball |d - g_0| <= c |g_0| has a larger least g_i . d, to 1e-6 |g_i|
|d|. With c below 1 that may still raise a loss, even where a direction outside the ball raises
none. A task without gradient, for which g_w would be zero, does not take part. Where g_w is zero
all the same, the direction is the one nearest to g_0 that conflicts with no task, or g_0 itself
where there is none.
"""

import math
from collections.abc import Sequence

import torch
from scipy.optimize import brentq
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import SMALLEST, Context
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, SolvedWeighter
from deepchest_cli.weighting.gradients.nonnegative import (
    VANISHING,
    projected,
    shortest_average,
)

CLOSE = 1e-10  # of ln s


class CAGradWeighter(SolvedWeighter):
    """Weights that help the worst-off task, near the mean gradient.

    c: 0 or above, how far from the mean the direction may be, as a share of its length; 0.4 in the
        authors' code. At 0 it is the mean; below 1 the mean of the losses still converges.
    """

    name = "cagrad"

    def __init__(
        self, tasks: Sequence[str], c: float = 0.4, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 <= c < math.inf:
            raise UsageError(f"Option 'c' of cagrad should be 0 or above. Found {c}.")
        self.c = c

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        mean = torch.full_like(gramian[0], 1 / len(gramian))
        reach = self.c * _length(gramian, mean)  # c |g_0|
        longest = math.sqrt(float(gramian.diagonal().max()))
        if reach <= VANISHING * longest:
            return mean
        worst = _worst_case(gramian, reach, longest)
        if worst is not None:
            return mean + reach / _length(gramian, worst) * worst
        harmless = projected(gramian, mean[None])[0]
        return harmless if harmless.any() else mean


def _worst_case(gramian: Tensor, reach: float, longest: float) -> Tensor | None:
    """Return w (m,); None where g_w is zero."""
    along = gramian.mean(dim=1)  # g_i . g_0

    def average(shift: float) -> Tensor:
        shifts = shift * (along[:, None] + along) + shift**2 * along.mean()
        return shortest_average(gramian + shifts)

    def excess(exponent: float) -> float:
        """Return ln(|g_w| / (s c |g_0|)) of ln s, which falls."""
        shift = math.exp(exponent)
        return math.log(max(_length(gramian, average(shift)) / shift / reach, SMALLEST))

    shortest = max(_length(gramian, shortest_average(gramian)), VANISHING * longest)
    # within these is the answer, and some more for rounding
    low, high = math.log(shortest / reach) - 1, math.log(longest / reach) + 1
    if excess(low) <= 0:
        return None
    return average(math.exp(brentq(excess, low, high, xtol=CLOSE)))


def _length(gramian: Tensor, weights: Tensor) -> float:
    return math.sqrt(max(float(weights @ gramian @ weights), 0.0))

"""CAGrad (Liu, Liu, Jin, Stone and Liu 2021, arXiv 2110.14048).

Over the m active tasks, with g_i the gradient of task i and g_0 the mean of all:
    direction = the d with |d - g_0| <= c |g_0| that is best for the worst-off task, which is
              = g_0 + c |g_0| g_w / |g_w|,   g_w = sum of w_i g_i,
    w = the weights, 0 or above and of sum 1, for which g_w . g_0 + c |g_0| |g_w| is least
The search for w is a search for one number: w is the shortest average of all g_i + s g_0, for the s
at which |g_w| = s c |g_0|. The authors minimize over w by a general solver.

Guaranteed: no direction in the ball |d - g_0| <= c |g_0| has a larger least g_i . d, to 1e-6 |g_i|
|d|. With c below 1 that may still raise a loss, even where a direction outside the ball raises
none. A task without gradient, for which g_w would be zero, does not take part. Where g_w is zero
all the same, the direction is the one nearest to g_0 that conflicts with no task, or g_0 itself
where nothing but zero does not.
"""

import math

import torch
from scipy.optimize import brentq
from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, Context, Tasks, check_option
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import (
    VANISHING,
    projected,
    shortest_average,
    vanishes,
)

TOLERANCE = 1e-10  # of ln s
STEP = 2.0  # of ln s
MIN_SHARE = 1e-3  # of the shortest gradient, the least |g_w| that is searched


class CAGradWeighter(SolvedWeighter):
    """Weights that help the worst-off task, near the mean gradient.

    c: 0 or above, how far from the mean the direction may be, as a share of its length; 0.4 in the
        authors' code. At 0 it is the mean; below 1 the mean of the losses still converges.
    """

    name = "cagrad"

    def __init__(self, tasks: Tasks, c: float = 0.4, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("cagrad", "c", c, 0 <= c < math.inf, "0 or above")
        self.c = c

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        mean = torch.full_like(gramian[0], 1 / len(gramian))
        radius = self.c * _length(gramian, mean)  # c |g_0|
        lengths = gramian.diagonal().sqrt()
        if radius <= VANISHING * lengths.max():
            return mean
        shortest = shortest_average(gramian)
        least = _length(gramian, shortest)
        if vanishes(gramian, shortest):  # no direction lowers all losses
            least = MIN_SHARE * float(lengths.min())
            harmless = projected(gramian, mean[None])[0]
            if _length(gramian, harmless - mean) <= radius:
                return harmless if harmless.any() else mean
        worst = _worst_case(gramian, radius, least, float(lengths.max()))
        return mean + radius / _length(gramian, worst) * worst


def _worst_case(gramian: Tensor, radius: float, least: float, longest: float) -> Tensor:
    """Return w (m,), |g_w| being from `least` to `longest`."""
    along = gramian.mean(dim=1)  # g_i . g_0

    def average(exponent: float) -> Tensor:
        shift = math.exp(exponent)  # s
        shifts = shift * (along[:, None] + along) + shift**2 * along.mean()
        return shortest_average(gramian + shifts)

    def excess(exponent: float) -> float:
        """Return ln(|g_w| / (s c |g_0|)) of ln s, which falls."""
        length = max(_length(gramian, average(exponent)), MIN_LOSS * least)
        return math.log(length / radius) - exponent

    low, lowest = math.log(longest / radius), math.log(least / radius)
    while excess(low) <= 0:  # from above, since small shifts drown in rounding
        if low < lowest:
            return average(lowest)
        low -= STEP
    return average(brentq(excess, low, low + 1.01 * STEP, xtol=TOLERANCE))  # some more for rounding


def _length(gramian: Tensor, weights: Tensor) -> float:
    return math.sqrt(max(float(weights @ gramian @ weights), 0.0))

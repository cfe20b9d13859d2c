"""The weights under which every task gains fairly: what Nash-MTL and FairGrad both ask for.

With G the products of the gradients, task i gains (G w)_i by the direction of weights w. Fairness
of the kind alpha asks for G w = w^(-1 / alpha), each number by itself. That is where the convex
function w . G w / 2 - sum of c(w_i) is least, c an integral of w^(-1 / alpha), and Newton's method
goes there from anywhere. (The authors of the two methods have a sequence of approximate problems,
which stays where it began when equal weights let a task lose, and least squares on the equation,
which can end where some tasks gain several times what they should.)
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients.nonnegative import shortest_average, vanishes

ITERATIONS = 200
CLOSE = 1e-8  # relative, of both sides of the equation


def fair_weights(gramian: Tensor, alpha: float) -> Tensor:
    """Return the weights (m,), above zero, with `gramian @ w = w ** (-1 / alpha)`.

    Raises `ArithmeticError` where there are none: no direction is good for all tasks.
    """
    if vanishes(gramian, shortest_average(gramian)):
        raise ArithmeticError("no direction is good for all tasks")
    # in units in which the weights are one where no two gradients have to do with each other
    units = gramian.diagonal() ** (-alpha / (1 + alpha))
    matrix, factors = units[:, None] * gramian * units, units ** (1 - 1 / alpha)
    weights = torch.ones_like(units)
    for _ in range(ITERATIONS):
        wanted = factors * weights ** (-1 / alpha)
        slope = matrix @ weights - wanted
        if (slope.abs() <= CLOSE * wanted).all():
            return units * weights
        curvature = matrix + torch.diag(wanted / weights / alpha)
        step = -torch.linalg.solve(curvature, slope)
        weights = (
            weights + _length(matrix, factors, weights, step, float(slope @ step), alpha) * step
        )
    raise ArithmeticError("no weights are fair")


def _length(
    matrix: Tensor, factors: Tensor, weights: Tensor, step: Tensor, slope: float, alpha: float
) -> float:
    """Return how much of a step lowers the function, all weights staying above zero."""
    shrinking = step < 0
    farthest = 0.95 * float((-weights / step)[shrinking].min()) if shrinking.any() else 1.0
    length, start = min(1.0, farthest), _value(matrix, factors, weights, alpha)
    while length > 1e-10:
        value = _value(matrix, factors, weights + length * step, alpha)
        if value <= start + 1e-4 * length * slope + 1e-12 * abs(start):
            break
        length /= 2
    return length


def _value(matrix: Tensor, factors: Tensor, weights: Tensor, alpha: float) -> float:
    power = 1 - 1 / alpha
    gains = weights.log() if power == 0 else weights**power / power
    return float(weights @ matrix @ weights / 2 - factors @ gains)

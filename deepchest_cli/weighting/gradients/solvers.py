"""Exact solutions of what several methods ask of gradients.

With g_i the gradients, G the products of all pairs of them, and |v| the length of sum of v_i g_i:
    the shortest average:     the w >= 0 of sum 1 for which |w| is least
    the projection of a sum:  the v >= u for which |v| is least; sum of v_i g_i is then the point
                              nearest to sum of u_i g_i in the cone of all d with g_j . d >= 0
    the equal angle:          the shortest d = sum of w_i g_i with d . g_i = |g_i| for all i
    fair weights:             the w > 0 with G w = w^(-1 / alpha)
The first two are the least |F y - b| over y >= 0, with F^T F the cosines between the gradients, so
that a short gradient is treated as carefully as a long one. The active-set method of Lawson and
Hanson (1974) is exact to the rounding of double precision; scipy's needs to be finished where
gradients are orthogonal, as those of tasks are that no radiograph shares.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

VANISHING = 1e-7  # of lengths: what gradients in single precision leave where they cancel
DEPENDENT = 1e-7  # of the largest eigenvalue: the rest is rounding in single precision
EXACT = 1e-8  # of |b|: the largest slope that is left of |F y - b|
FAIR_ITERATIONS = 200
FAIR_TOLERANCE = 1e-8  # relative, of both sides of the equation

Array = NDArray[np.float64]


def shortest_average(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the shortest average of the gradients with products (m, m).

    Then (G w)_i >= w . G w for all i, with equality where w_i is above zero.
    """
    lengths, factor = _factor(gramian)
    # 1 - the sum of the weights is one more number to be made small; the answer is only scaled
    shares = lengths.min() / lengths
    target = np.zeros(len(lengths) + 1)
    target[-1] = 1.0
    found = _least(np.vstack([factor, shares]), target) / lengths
    return torch.from_numpy(found / found.sum())


def projected(gramian: Tensor, sums: Tensor) -> Tensor:
    """Return the weights (r, m) of the projections of r sums of gradients, given by weights (r, m).

    Then (G v)_j >= 0 for each row v and all j. A projection onto nothing but zero is zero.
    """
    lengths, factor = _factor(gramian)
    given = sums.numpy() * lengths
    moves = np.stack([_least(factor, -factor @ row) for row in given])
    found = torch.from_numpy((given + moves) / lengths)
    return found.masked_fill(vanishes(gramian, found)[:, None], 0.0)


def _least(factor: Array, target: Array) -> Array:
    """Return the y >= 0 (m,) for which |F y - b| is least."""
    found: Array = nnls(factor, target)[0]
    slope, tolerance = factor.T @ (target - factor @ found), EXACT * np.linalg.norm(target)
    chosen = found > 0
    if np.abs(slope[chosen]).max(initial=slope.max()) <= tolerance:
        return found
    # nnls of scipy 1.17 may end elsewhere: the method goes on from there
    for _ in range(3 * len(found)):
        found = _least_of_chosen(factor, target, found, chosen)
        slope = np.where(chosen, 0, factor.T @ (target - factor @ found))
        if slope.max() <= tolerance:
            break
        chosen[slope.argmax()] = True
    return found


def _least_of_chosen(
    factor: Array, target: Array, start: Array, chosen: NDArray[np.bool_]
) -> Array:
    """Return the same where only `chosen` (m,) may be above zero; those at zero leave it."""
    found = start
    while True:
        fitted = np.zeros_like(found)
        fitted[chosen] = np.linalg.lstsq(factor[:, chosen], target)[0]
        below = chosen & (fitted <= 0)
        if not below.any():
            return fitted
        share = (found[below] / (found[below] - fitted[below])).min()
        found = found + share * (fitted - found)
        chosen &= ~below | (found > np.finfo(float).eps * found.max())
        found[~chosen] = 0


def vanishes(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return whether gradients times weights (..., m) cancel, but for what rounding leaves."""
    squares = (weights @ gramian * weights).sum(dim=-1)
    return squares <= (VANISHING * (weights.abs() @ gramian.diagonal().sqrt())) ** 2


def _factor(gramian: Tensor) -> tuple[Array, Array]:
    """Return the lengths (m,) of the gradients, and F (m, m), a column for each one's unit.

    Each unit has a small component of its own, as large as the rounding of single precision:
    without it, two opposed gradients would have sums of huge weights in arbitrary directions.
    """
    products = gramian.numpy()
    squares = products.diagonal()
    lengths = np.sqrt(squares.clip(min=squares.max() * VANISHING**2))
    values, vectors = np.linalg.eigh(products / lengths / lengths[:, None])
    return lengths, np.sqrt(values.clip(min=0) + VANISHING**2)[:, None] * vectors.T


def equal_angle(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the shortest sum d of gradients with d . g_i = |g_i| for all i.

    Where the gradients with products (m, m) are linearly dependent it is the least-squares answer.
    """
    lengths = gramian.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(gramian / lengths / lengths[:, None])
    kept = values > values.max() * DEPENDENT
    along = vectors[:, kept]
    units: Tensor = along / values[kept] @ along.sum(dim=0)
    return units / lengths


def fair_weights(gramian: Tensor, alpha: float) -> Tensor:
    """Return the weights (m,), above zero, with `gramian @ w = w ** (-1 / alpha)`.

    That is where the convex function w . G w / 2 - sum of c(w_i) is least, c an integral of
    w^(-1 / alpha); Newton's method reaches it from any start. (The authors of Nash-MTL and FairGrad
    approximate: their methods can stay at the start, or end where some tasks gain several times
    their share.) Raises `ArithmeticError` where no direction is good for all tasks.
    """
    if vanishes(gramian, shortest_average(gramian)):
        raise ArithmeticError("no direction is good for all tasks")
    # in units in which the weights of orthogonal gradients are one
    units = gramian.diagonal() ** (-alpha / (1 + alpha))
    matrix, factors = units[:, None] * gramian * units, units ** (1 - 1 / alpha)
    weights = torch.ones_like(units)
    for _ in range(FAIR_ITERATIONS):
        wanted = factors * weights ** (-1 / alpha)
        slope = matrix @ weights - wanted
        if (slope.abs() <= FAIR_TOLERANCE * wanted).all():
            return units * weights
        curvature = matrix + torch.diag(wanted / weights / alpha)
        step = -torch.linalg.solve(curvature, slope)
        length = _step_length(matrix, factors, weights, step, float(slope @ step), alpha)
        weights = weights + length * step
    raise ArithmeticError("no weights are fair")


def _step_length(
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

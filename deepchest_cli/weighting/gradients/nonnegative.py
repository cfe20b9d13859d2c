"""Exact answers to what several methods ask of gradients, by non-negative least squares.

With g_i the gradients, G the products of all pairs of them, and |v| the length of sum of v_i g_i:
    the shortest average:     the w >= 0 of sum 1 for which |w| is least
    the projection of a sum:  the v >= u for which |v| is least; sum of v_i g_i is then the point
                              nearest to sum of u_i g_i in the cone of all d with g_j . d >= 0
Both are the least |F y - b| over y >= 0, with F^T F the cosines between the gradients, so that a
short gradient is treated as carefully as a long one. The active-set method of Lawson and Hanson
(1974) ends at the answer itself: what is left is the rounding of double precision.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

VANISHING = 1e-7  # of lengths: what gradients in single precision leave where they cancel

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
    found = nnls(np.vstack([factor, shares]), target)[0] / lengths
    return torch.from_numpy(found / found.sum())


def projected(gramian: Tensor, sums: Tensor) -> Tensor:
    """Return the weights (r, m) of the projections of r sums of gradients, given by weights (r, m).

    Then (G v)_j >= 0 for each row v and all j. A projection onto nothing but zero is zero.
    """
    lengths, factor = _factor(gramian)
    given = sums.numpy() * lengths
    moves = np.stack([nnls(factor, -factor @ row)[0] for row in given])
    found = torch.from_numpy((given + moves) / lengths)
    return found.masked_fill(vanishes(gramian, found)[:, None], 0.0)


def vanishes(gramian: Tensor, weights: Tensor) -> Tensor:
    """Return whether gradients times weights (..., m) cancel, but for what rounding leaves."""
    squares = (weights @ gramian * weights).sum(dim=-1)
    return squares <= (VANISHING * (weights.abs() @ gramian.diagonal().sqrt())) ** 2


def _factor(gramian: Tensor) -> tuple[Array, Array]:
    """Return the lengths (m,) of the gradients, and F (m, m), a column for each one's unit.

    Each has a little of its own, as rounding to single precision gives it: two gradients that are
    opposed but for that would else have sums of huge weights that lead anywhere.
    """
    products = gramian.numpy()
    squares = products.diagonal()
    lengths = np.sqrt(squares.clip(min=squares.max() * VANISHING**2))
    values, vectors = np.linalg.eigh(products / lengths / lengths[:, None])
    return lengths, np.sqrt(values.clip(min=0) + VANISHING**2)[:, None] * vectors.T

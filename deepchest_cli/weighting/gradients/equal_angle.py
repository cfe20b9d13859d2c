"""The direction at the same angle to every gradient: what IMTL-G and ConFIG both ask for."""

import torch
from torch import Tensor

DEPENDENT = 1e-7  # share of the largest eigenvalue; of single precision the rest is rounding


def equal_angle(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the shortest sum d of gradients with d . g_i = |g_i| for all i.

    gramian (m, m): the products of the gradients. Where these depend on each other there may be no
    such sum; the one returned is nearest to it in the sense of least squares.
    """
    lengths = gramian.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(gramian / lengths / lengths[:, None])
    kept = values > values.max() * DEPENDENT
    along = vectors[:, kept]
    units: Tensor = along / values[kept] @ along.sum(dim=0)
    return units / lengths

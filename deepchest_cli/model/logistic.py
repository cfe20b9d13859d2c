"""The logistic function and its inverse in double precision; needs numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SMALLEST = 1e-12  # distance of a probability from 0 and 1


def sigmoid(logits: NDArray[Any]) -> Floats:
    """Return the logistic function of logits (any shape); single precision ties them at 1.

    NumPy computes every element alike. Torch's vector code has other last bits than its remainder,
    so a probability would depend on its place in the batch.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))))


def logit(probabilities: Floats, smallest: float = SMALLEST) -> Floats:
    """Return the inverse of `sigmoid`, finite also for 0 and 1."""
    inside = np.clip(probabilities, smallest, 1 - smallest)
    return np.asarray(np.log(inside) - np.log1p(-inside))

"""The one file that knows torchjd: numbers in, numbers out, and no memory of its own.

What torchjd's objects remember between steps has gaps in its state dicts (GradVac's cannot be
loaded, Excess-MTL's has a count outside), so that a method's memory is handed in and comes back.
Gramians (m, m) are in double precision on the CPU, with a trace of one: several of torchjd's
thresholds are absolute, and gradients of features are smaller than these.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError

EXTRA = ("torchjd", "quadprog", "qpsolvers", "cvxpy", "clarabel")  # where all of it is installed
TORCHJD, SUPPORTED = "torchjd", "0.18."
INSTALL = "Install it with: pip install 'deepchest[gradient]'"
REGULARISER = 1e-7  # of a Gramian's diagonal; enough in double precision, little for a rare finding
DEPENDENT = 1e-7  # share of the largest eigenvalue; of single precision the rest is rounding
STATIONARY = 1e-7  # share of all gradients below which CAGrad's combination of them counts as zero


def find_packages() -> str:
    """Say what is installed of the extra; raises `UsageError` for what is not."""
    require("Some weighters of task gradients need", EXTRA)
    return f"{TORCHJD} {version(TORCHJD)}, solvers for all weighters of task gradients"


def require(what: str, packages: Sequence[str]) -> None:
    """Raise `UsageError` unless the packages are installed; `what` begins the sentence."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        are = "are" if len(missing) > 1 else "is"
        raise UsageError(f"{what} {', '.join(missing)}, which {are} not installed.", INSTALL)
    if TORCHJD in packages and not version(TORCHJD).startswith(SUPPORTED):
        raise UsageError(f"{what} torchjd {SUPPORTED}x. Found {version(TORCHJD)}.", INSTALL)


def _aggregation() -> Any:
    return import_module("torchjd.aggregation")


def _projector() -> Any:
    return import_module("torchjd.linalg").QuadprogProjector(norm_eps=0.0, reg_eps=REGULARISER)


def upgrad(gramian: Tensor) -> Tensor:
    """Return the mean (m,) of the weights of each gradient's projection onto the dual cone."""
    weights: Tensor = _aggregation().UPGradWeighting(projector=_projector())(gramian)
    return weights


def dualproj(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the mean gradient's projection onto the dual cone."""
    weights: Tensor = _aggregation().DualProjWeighting(projector=_projector())(gramian)
    return weights


def pcgrad(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the sum of deconflicted gradients; draws from torch's state."""
    weights: Tensor = _aggregation().PCGradWeighting()(gramian)
    return weights


def mgda(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the shortest vector among the gradients' convex combinations."""
    weights: Tensor = _aggregation().MGDAWeighting()(gramian)
    return weights


def cagrad(gramian: Tensor, c: float) -> Tensor:
    """Return CAGrad's weights (m,); zeros where its combination of gradients vanishes."""
    weights: Tensor = _aggregation().CAGradWeighting(c=c, norm_eps=STATIONARY)(gramian)
    return weights


def imtl_g(gramian: Tensor) -> Tensor:
    """Return the weights (m,), of sum one, whose direction has the same projection on all."""
    weights: Tensor = _aggregation().IMTLGWeighting()(gramian)
    return weights


def aligned_mtl(gramian: Tensor, scale: str) -> Tensor:
    """Return the weights (m,) that make the gradients orthogonal and of one length."""
    weights: Tensor = _aggregation().AlignedMTLWeighting(scale_mode=scale)(gramian)
    return weights


def gradvac(gramian: Tensor, targets: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Return weights (m,) and the next targets (m, m); draws from torch's state."""
    weighting = _aggregation().GradVacWeighting(beta=beta)
    weighting._phi_t, weighting._state_key = targets.clone(), (len(targets), targets.dtype)
    weights: Tensor = weighting(gramian)
    return weights, weighting._phi_t


def config(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of ConFIG's direction, which is found in the gradients' own span."""
    root = root_of(gramian)  # (m, r)
    direction = _aggregation().ConFIG()(root)
    weights: Tensor = torch.linalg.pinv(root.T) @ direction
    return weights


def graddrop(gradients: Tensor, leak: float) -> Tensor:
    """Return the direction (K,) for gradients (m, K); draws from the device's state."""
    kept = gradients.new_full((len(gradients),), leak)
    direction: Tensor = _aggregation().GradDrop(leak=kept)(gradients)
    return direction


def excess_risk(gradients: Tensor) -> Tensor:
    """Return each task's excess risk (m,) at its first step, for gradients (m, K)."""
    weighting = _aggregation().ExcessMTLWeighting()
    weighting(gradients)
    risk: Tensor = weighting._initial_w
    return risk


def excess_mtl(
    gradients: Tensor, weights: Tensor, squares: Tensor, first: Tensor, step: float
) -> Tensor:
    """Return the next weights (m,), of sum one; adds to the sums of `squares` (m, K) in place.

    first (m,): each task's excess risk at its first step.
    """
    weighting = _aggregation().ExcessMTLWeighting(robust_step_size=step)
    weighting._weights, weighting._sq_grad_sum, weighting._initial_w = weights, squares, first
    weighting._state_key = (*gradients.shape, gradients.dtype, gradients.device)
    found: Tensor = weighting(gradients)
    return found


def root_of(gramian: Tensor) -> Tensor:
    """Return a matrix (m, r) of full rank whose rows have these products with each other."""
    lengths = gramian.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(gramian / lengths / lengths[:, None])
    kept = values > values.max() * DEPENDENT
    root: Tensor = lengths[:, None] * vectors[:, kept] * values[kept].sqrt()
    return root

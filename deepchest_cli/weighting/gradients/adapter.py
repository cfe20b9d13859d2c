"""The only module that uses torchjd: numbers in, numbers out, and no state.

The state dict of torchjd's GradVac cannot be loaded, so its state is passed in and returned.
Gramians (m, m) are in double precision on the CPU, with a trace of one: several of torchjd's
thresholds are absolute, and gradients of features are smaller than these.
"""

from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint

TORCHJD, SUPPORTED = "torchjd", "0.18."
EXTRA = "gradient"


def find_packages() -> str:
    """Return what is installed of the extra; raises `UsageError` for what is not."""
    require("Some weighters of task gradients need")
    return f"{TORCHJD} {version(TORCHJD)}, for all weighters of task gradients"


def require(what: str) -> None:
    """Raise `UsageError` unless a version of torchjd that serves is installed.

    what: the beginning of the sentence.
    """
    if find_spec(TORCHJD) is None:
        raise UsageError(f"{what} {TORCHJD}, which is not installed.", install_hint(EXTRA))
    if not version(TORCHJD).startswith(SUPPORTED):
        raise UsageError(
            f"{what} {TORCHJD} {SUPPORTED}x. Found {version(TORCHJD)}.", install_hint(EXTRA)
        )


def _aggregation() -> Any:
    return import_module("torchjd.aggregation")


def pcgrad(gramian: Tensor) -> Tensor:
    """Return the weights (m,) of the sum of deconflicted gradients; draws from torch's state."""
    weights: Tensor = _aggregation().PCGradWeighting()(gramian)
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

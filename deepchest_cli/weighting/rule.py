"""DeepChest's rule as a pure function of weights and signal (Mohamed et al., arXiv 2505.23595)."""

import math
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name

THRESHOLDS = ("mean", "median")


@dataclass(frozen=True)
class Rule:
    """The constants of the rule, checked; `DeepChestWeighter` says what each means."""

    raise_factor: float
    cap: float
    decay: float
    threshold: str
    dead_band: float
    floor: float
    renormalize: bool

    def __post_init__(self) -> None:
        """Refuse constants out of range; NaN is always out of range."""
        for name, bound in (("raise_factor", 1.0), ("cap", 0.0), ("decay", 1.0)):
            refuse_unless_above(name, getattr(self, name), bound)
        if self.threshold not in THRESHOLDS:
            raise unknown_name("threshold of deepchest:", self.threshold, THRESHOLDS)
        for name, end in (("dead_band", 1.0), ("floor", self.cap)):
            value = getattr(self, name)
            if not 0 <= value < end:
                raise UsageError(
                    f"Option {name!r} of deepchest should be from 0 to below {end:g}. "
                    f"Found {value}."
                )

    def updated(self, weights: Tensor, signal: Tensor, more_is_worse: bool = False) -> Tensor:
        """Return the weights (T,) after one update by a signal (T,).

        A task whose signal is NaN keeps its weight, and has no part in the threshold; without a
        single defined signal nothing changes.
        """
        defined = signal[~torch.isnan(signal)].tolist()
        if not defined:
            return weights.clone()
        worse, better = self._sides(signal, defined, more_is_worse)
        raised = (weights * self.raise_factor).clamp(max=self.cap)
        lowered = torch.maximum(weights / self.decay, weights.clamp(max=self.floor))
        updated = torch.where(worse, raised, torch.where(better, lowered, weights))
        return (
            updated * (len(weights) / math.fsum(updated.tolist())) if self.renormalize else updated
        )

    def _sides(
        self, signal: Tensor, defined: list[float], more_is_worse: bool
    ) -> tuple[Tensor, Tensor]:
        """Return which tasks (T,) are raised and which are lowered; NaN is neither."""
        if self.threshold == "mean":
            # compared as T a_i < sum a_j, correctly rounded: equal accuracies are never below
            scaled, theta = signal * len(defined), math.fsum(defined)
        else:
            scaled, theta = signal, median(defined)
        low, high = theta * (1 - self.dead_band), theta * (1 + self.dead_band)
        if more_is_worse:
            return scaled > high, scaled <= low
        return scaled < low, scaled >= high


def refuse_unless_above(name: str, value: float, bound: float) -> None:
    """Raise `UsageError` unless an option of deepchest is finite and above its bound."""
    if not bound < value < math.inf:
        raise UsageError(f"Option {name!r} of deepchest should be above {bound:g}. Found {value}.")

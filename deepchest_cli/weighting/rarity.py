"""A prior by rarity, adjusted by validation metrics (our own rule; see RARE-FINDINGS.md: unproven).

DeepChest as published follows training accuracy, by which a finding that is almost always absent
seems solved, and its weight decays. Here, with p_i the prevalence of finding i in training, e the
epochs done of E, and T findings:
    prior      b_i = power * ramp(e / E) * (mean_j ln q_j - ln q_i),   q_i = 1 - exp(-p_i / kappa)
    feedback   u_i <- memory * u_i + rate * s_i, once an epoch, from a signal on validation
    weights    w_i = T * exp(b_i + u_i) / sum_j exp(b_j + u_j), |b_i + u_i| at most ln(limit)
q_i is the effective number of Cui et al. 2019 (arXiv 1901.05555) up to a factor: proportional to
p_i for findings rarer than kappa, the same for all that are much more frequent. The step s_i is
the signal's distance from the findings' mean in standard deviations over the findings, at most 2;
distances within `certainty` standard errors count as zero.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import (
    MIN_LOSS,
    Context,
    Performance,
    Tasks,
    WeightedSumWeighter,
    check_option,
    patients_of,
    to_like,
)
from deepchest_cli.weighting.certainty import auroc_error

RAMPS = ("always", "late", "early")
MAX_STEP = 2.0  # standard deviations
RANGES = {  # of options: the bounds are excluded, and so is NaN
    "kappa": (0, math.inf, "above 0"),
    "turn": (0, 1 + 1e-12, "above 0 and at most 1"),
    "memory": (-1e-12, 1 + 1e-12, "from 0 to 1"),
    "certainty": (-1e-12, math.inf, "0 or above"),
    "limit": (1, math.inf, "above 1"),
}


class RarityWeighter(WeightedSumWeighter):
    """A prior by rarity and a feedback from validation: smooth, bounded weights of the sum T.

    power: of the rarity, 1 is the inverse frequency, 0 no prior; below 0 it favors the frequent.
    kappa: the prevalence above which findings count as equally frequent.
    ramp: whether the prior holds always, late (from `turn` of the epochs on) or early (from the
        start, falling evenly to nothing at `turn`).
    turn: a share of the epochs, above 0 and at most 1.
    signal: none; auroc; normalized-cross-entropy, the loss over that of predicting the prevalence;
        gap, by how much that ratio is larger in validation than in training; trend, by how much
        the validation loss has grown since the epoch before. In all of them more is worse
        (1 - AUROC).
    rate: how much ln w_i changes for one standard deviation; above 0 raises the worse findings.
    memory: from 0, no memory, to 1, the plain sum of the steps.
    certainty: standard errors of the signal within which nothing changes; 0 or above.
    limit: how many times as much as before the normalization a weight may be, above 1.
    """

    saved = ("epoch", "feedback", "previous")

    def __init__(
        self,
        tasks: Tasks,
        power: float = 0.5,
        kappa: float = 1.0,
        ramp: str = "late",
        turn: float = 0.5,
        signal: str = "none",
        rate: float = 0.1,
        memory: float = 0.9,
        certainty: float = 0.0,
        limit: float = 4.0,
        context: Context = Context(),
    ) -> None:
        super().__init__(tasks)
        values = (kappa, turn, memory, certainty, limit)
        for value, (name, (low, high, rule)) in zip(values, RANGES.items(), strict=True):
            check_option("rarity", name, value, low < value < high, rule)
        if ramp not in RAMPS:
            raise unknown_name("ramp of rarity:", ramp, RAMPS)
        if signal not in RARITY_SIGNALS:
            raise unknown_name("signal of rarity:", signal, RARITY_SIGNALS)
        if context.prevalence is None or context.epochs is None:
            raise UsageError(
                "Weighter 'rarity' needs the training labels and the epochs to be known.",
                "Give it a context with the prevalence of every task and the planned epochs.",
            )
        self.ramp, self.turn, self.epochs = ramp, turn, context.epochs
        self.signal, self.rate, self.memory = signal, rate, memory
        self.certainty, self.limit = certainty, limit
        self.prevalence = context.prevalence.detach().cpu().double()
        self.prior = power * _rarity(self.prevalence, kappa)
        self.epoch = 0
        self.feedback = torch.zeros_like(self.task_weights)
        self.previous: Tensor | None = None  # the validation losses of the epoch before
        self._update_weights()

    def end_epoch(self, performance: Performance) -> list[str]:
        self.epoch += 1
        values = RARITY_SIGNALS[self.signal](performance, self.previous)
        self.previous = performance.validation.get("loss")
        if values is not None:
            step = self._step(values.cpu().double(), performance)
            self.feedback = self.memory * self.feedback + self.rate * step
        self._update_weights()
        return []

    def _step(self, values: Tensor, performance: Performance) -> Tensor:
        """Return each finding's distance (T,) from the mean, without what may be chance."""
        distance = values - values.nanmean()
        certain = distance
        if self.certainty:
            errors = self.certainty * standard_errors(self.signal, values, performance)
            certain = distance.sign() * (distance.abs() - errors).clamp(min=0)
        spread = distance[~distance.isnan()].std().clamp(min=1e-6)
        return (certain / spread).clamp(-MAX_STEP, MAX_STEP).nan_to_num(0.0)

    def _update_weights(self) -> None:
        bound = math.log(self.limit)
        logarithms = (self._ramped() * self.prior + self.feedback).clamp(-bound, bound)
        weights = len(self.tasks) * torch.softmax(logarithms, dim=0)
        self.task_weights.copy_(to_like(weights, self.task_weights))

    def _ramped(self) -> float:
        done = self.epoch / self.epochs
        if self.ramp == "late":
            return float(done >= self.turn)
        return max(1 - done / self.turn, 0.0) if self.ramp == "early" else 1.0


def _rarity(prevalence: Tensor, kappa: float) -> Tensor:
    """Return mean_j ln q_j - ln q_i (T,); zero for a finding without positives."""
    defined = prevalence > 0
    logarithms = (-torch.expm1(-prevalence / kappa)).log()
    rarity = logarithms[defined].mean() - logarithms
    return torch.where(defined, rarity, torch.zeros_like(rarity))


Signal = Callable[[Performance, Tensor | None], Tensor | None]  # with the previous losses (T,)


def _gap(now: Performance, previous: Tensor | None) -> Tensor:
    """The validation loss over the training loss, in logarithms: prevalences cancel."""
    return _log(now.validation["loss"]) - _log(now.training["loss"])


def _trend(now: Performance, previous: Tensor | None) -> Tensor | None:
    losses = now.validation["loss"]
    return None if previous is None else _log(losses) - _log(to_like(previous, losses))


def _log(losses: Tensor) -> Tensor:
    return losses.cpu().double().clamp(min=MIN_LOSS).log()


# more is worse in all of them; None where there is nothing to compare with yet
RARITY_SIGNALS: Mapping[str, Signal] = {
    "none": lambda now, previous: None,
    "auroc": lambda now, previous: 1 - now.validation["auroc"],
    "normalized-cross-entropy": lambda now, previous: now.validation["normalized_cross_entropy"],
    "gap": _gap,
    "trend": _trend,
}


def standard_errors(signal: str, values: Tensor, now: Performance) -> Tensor:
    """Return the sampling error (T,) of each value, given the patients in validation.

    The others than that of an AUROC follow from losses, to which positives
    contribute most: the relative error of a sum of n similar terms is one over the root of n.
    """
    patients = patients_of(now, "validation", "rarity")
    if signal == "auroc":
        return auroc_error(1 - values, patients)
    scale = values.abs() if signal == "normalized-cross-entropy" else torch.ones_like(values)
    return scale * patients.positive.to(values).clamp(min=1).rsqrt()

"""A prior by rarity, moved by what generalizes (our own rule; see RARE-FINDINGS.md: unproven).

DeepChest as published moves weights by training accuracy, in which a finding that is hardly ever
there looks solved, and starves it. Here, with p_i the share of positives among finding i's training
labels, e the epochs done of E, and T findings:
    prior      b_i = power * ramp(e / E) * (mean_j ln q_j - ln q_i),   q_i = 1 - exp(-p_i / kappa)
    feedback   u_i <- memory * u_i + rate * s_i, once an epoch, from a signal on validation
    weights    w_i = T * exp(b_i + u_i) / sum_j exp(b_j + u_j), |b_i + u_i| at most ln(limit)
q_i is the effective number of Cui et al. 2019 (arXiv 1901.05555) up to a factor: proportional to
p_i for findings rarer than kappa, the same for all that are much more frequent. The step s_i is
the signal's distance from the findings' mean in deviations over the findings, at most 2, of which
what lies within `certainty` standard errors counts as nothing.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import Context, HeldWeighter, Performance
from deepchest_cli.weighting.rarity_signals import RARITY_SIGNALS, standard_errors

RAMPS = ("always", "late", "early")
NONE_GIVEN = Context()
FARTHEST = 2.0  # deviations that a step counts at most


class RarityWeighter(HeldWeighter):
    """A prior by rarity and a feedback from validation, smooth, bounded, of the sum T.

    power: of the rarity, 1 is the inverse frequency, 0 no prior; below 0 it favors the frequent.
    kappa: the prevalence above which findings count as equally frequent; 1, hardly any.
    ramp: whether the prior holds always, late (from `turn` of the epochs on) or early (from the
        start, falling evenly to nothing at `turn`).
    turn: a share of the epochs, above 0 and at most 1.
    signal: none; auroc; normalized-cross-entropy, the loss over that of predicting the prevalence;
        gap, by how much that ratio is larger in validation than in training; trend, by how much
        the validation loss has grown since the epoch before. In all of them more is worse
        (1 - AUROC).
    rate: how far a finding's logarithm moves for one deviation; above 0 the worse are raised.
    memory: from 0 to 1; 1 adds up, 0 has none.
    certainty: standard errors of the signal within which nothing moves; 0 or above.
    limit: how many times as much as before the normalization a weight may be, above 1.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        power: float = 0.5,
        kappa: float = 1.0,
        ramp: str = "late",
        turn: float = 0.5,
        signal: str = "none",
        rate: float = 0.1,
        memory: float = 0.9,
        certainty: float = 0.0,
        limit: float = 4.0,
        context: Context = NONE_GIVEN,
    ) -> None:
        super().__init__(tasks)
        _check(kappa=kappa, turn=turn, memory=memory, certainty=certainty, limit=limit)
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
        self.before: Tensor | None = None  # the validation losses of the epoch before
        self._weigh()

    def end_epoch(self, performance: Performance) -> list[str]:
        """Take a step by the validation figures, and weigh anew."""
        self.epoch += 1
        values = RARITY_SIGNALS[self.signal](performance, self.before)
        self.before = performance.validation.get("loss")
        if values is not None:
            step = self._step(values.double().cpu(), performance)
            self.feedback = self.memory * self.feedback + self.rate * step
        self._weigh()
        return []

    def _step(self, values: Tensor, performance: Performance) -> Tensor:
        """Return how far each finding (T,) is from the mean, as far as that is certain."""
        distance = values - values.nanmean()
        certain = distance
        if self.certainty:
            errors = self.certainty * standard_errors(self.signal, values, performance)
            certain = distance.sign() * (distance.abs() - errors).clamp(min=0)
        spread = distance[~distance.isnan()].std().clamp(min=1e-6)
        return (certain / spread).clamp(-FARTHEST, FARTHEST).nan_to_num(0.0)

    def _weigh(self) -> None:
        reach = math.log(self.limit)
        logarithms = (self._ramped() * self.prior + self.feedback).clamp(-reach, reach)
        self.task_weights.copy_(len(self.tasks) * torch.softmax(logarithms, dim=0))

    def _ramped(self) -> float:
        done = self.epoch / self.epochs
        if self.ramp == "late":
            return float(done >= self.turn)
        return max(1 - done / self.turn, 0.0) if self.ramp == "early" else 1.0

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is not a buffer: the epoch, the feedback, and the losses before."""
        return {"epoch": self.epoch, "feedback": self.feedback, "before": self.before}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.epoch, self.feedback = state["epoch"], state["feedback"].cpu().double()
        self.before = state["before"]


def _rarity(prevalence: Tensor, kappa: float) -> Tensor:
    """Return mean_j ln q_j - ln q_i (T,); zero for a finding without positives."""
    defined = prevalence > 0
    logarithms = (-torch.expm1(-prevalence / kappa)).log()
    rarity = logarithms[defined].mean() - logarithms
    return torch.where(defined, rarity, torch.zeros_like(rarity))


def _check(**values: float) -> None:
    """Refuse options out of range; NaN is always out of range."""
    ranges = {
        "kappa": (0, math.inf, "above 0"),
        "turn": (0, 1 + 1e-12, "above 0 and at most 1"),
        "memory": (-1e-12, 1 + 1e-12, "from 0 to 1"),
        "certainty": (-1e-12, math.inf, "0 or above"),
        "limit": (1, math.inf, "above 1"),
    }
    for name, value in values.items():
        low, high, words = ranges[name]
        if not low < value < high:
            raise UsageError(f"Option {name!r} of rarity should be {words}. Found {value}.")

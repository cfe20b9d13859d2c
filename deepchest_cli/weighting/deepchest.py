"""DeepChest: weights that follow each task's accuracy (Mohamed et al. 2025, arXiv 2505.23595).

Once an epoch, with a_i the task's training accuracy and theta the mean of all a_i:
    a_i < theta:   w_i <- min(raise_factor * w_i, cap)
    otherwise:     w_i <- w_i / decay
The objective is the sum of w_i L_i. The constants are those of the authors' code; further options
change the signal a, the threshold theta, and the bounds of the weights.

With certainty=k (our own; the paper names it as a next step) a weight moves only where a_i is more
than k standard errors s_i from theta, which counts as known; s_i is of the number of patients
(`certainty.py`):
    a_i < theta - k s_i:    w_i <- min(raise_factor * w_i, cap)
    a_i >= theta + k s_i:   w_i <- w_i / decay
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from deepchest_cli.errors import unknown_name
from deepchest_cli.weighting.base import (
    Context,
    Performance,
    TaskLosses,
    Tasks,
    WeightedSumWeighter,
    check_option,
    patients_of,
    to_like,
)
from deepchest_cli.weighting.certainty import STANDARD_ERRORS
from deepchest_cli.weighting.initial_weights import initial_weights
from deepchest_cli.weighting.signals import SignalSource

THRESHOLDS = ("mean", "median")


@dataclass(frozen=True)
class Rule:
    """The constants of the update, checked; `DeepChestWeighter` says what each means."""

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
            value = getattr(self, name)
            check_option("deepchest", name, value, bound < value < math.inf, f"above {bound:g}")
        if self.threshold not in THRESHOLDS:
            raise unknown_name("threshold of deepchest:", self.threshold, THRESHOLDS)
        for name, end in (("dead_band", 1.0), ("floor", self.cap)):
            value = getattr(self, name)
            check_option("deepchest", name, value, 0 <= value < end, f"from 0 to below {end:g}")

    def directions(
        self, signal: Tensor, more_is_worse: bool = False, margin: Tensor | float = 0.0
    ) -> Tensor:
        """Return 1 for the tasks (T,) to be raised, -1 for those to be lowered, else 0.

        signal: (T,) in double precision on the CPU. A task whose signal is NaN does not count in
        the threshold; its direction is NaN.
        margin: how far from the threshold the direction is 0, (T,) or the same for all.
        """
        defined = signal[~signal.isnan()].tolist()
        worse, better = self._compare(
            signal, defined, more_is_worse, torch.as_tensor(margin, dtype=torch.float64)
        )
        return (worse.double() - better.double()).masked_fill(signal.isnan(), math.nan)

    def updated(self, weights: Tensor, directions: Tensor) -> Tensor:
        """Return the weights (T,) after one update; where all directions are NaN as they are."""
        raised = (weights * self.raise_factor).clamp(max=self.cap)
        lowered = torch.maximum(weights / self.decay, weights.clamp(max=self.floor))
        updated = torch.where(directions > 0, raised, torch.where(directions < 0, lowered, weights))
        if self.renormalize:
            scaled = updated * (len(weights) / updated.sum())
            return torch.where(directions.isnan().all(), weights, scaled)
        return updated

    def _compare(
        self, signal: Tensor, defined: list[float], more_is_worse: bool, margin: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return which tasks (T,) are worse than the threshold and which better; NaN is neither."""
        if self.threshold == "mean":
            # compared as T a_i < sum a_j, correctly rounded: equal accuracies are never below
            scaled, theta, margin = signal * len(defined), math.fsum(defined), margin * len(defined)
        else:
            scaled, theta = signal, median(defined) if defined else math.nan
        low = (theta - margin).clamp(max=theta * (1 - self.dead_band))
        high = (theta + margin).clamp(min=theta * (1 + self.dead_band))
        if more_is_worse:
            return scaled > high, scaled <= low
        return scaled < low, scaled >= high


class DeepChestWeighter(WeightedSumWeighter):
    """Raise the weight of tasks that do worse than the threshold, lower that of the others.

    raise_factor: above 1.
    cap: the largest weight that raising reaches, positive.
    decay: above 1.
    initial: the weights before the first update: ones, or a number for all; prevalence, 1 + p_i / 2
        with p_i the training prevalence; authors-cnn or authors-resnet, the authors' values;
        single-task:PATH, 1.5 - a_i / 2 with the best validation accuracies of a metrics.csv; or a
        .toml file with a number for each task.
    signal: accuracy, as in the authors' code; balanced-accuracy, f1, auroc, average-precision;
        loss, normalized-cross-entropy (the loss divided by that of predicting the prevalence) or
        loss-trend (the loss divided by that of `trend_epochs` epochs before), where a task
        *above* the threshold is raised. A task whose signal is undefined keeps its weight.
    split: whose signal, train or validation.
    threshold: mean or median of the defined signals.
    dead_band: from 0 to below 1: between theta (1 - dead_band) and theta (1 + dead_band) a weight
        stays as it is.
    floor: the lowest weight that decay reaches, from 0, which is none, to below the cap.
    renormalize: whether the weights are scaled to the sum T after each update, beyond cap and
        floor where need be.
    every: 0, once an epoch, or a number of steps: the update then follows from the logits observed
        in these steps, also across an epoch's end, where no other update happens.
    trend_epochs: at least 1; of loss-trend alone.
    certainty: 0, or by how many of its standard errors the signal differs from theta before a
        weight moves; of accuracy and auroc, without `every`. Exactly 0 or 1 has the
        standard error 0, and always moves its weight.

    The metrics of the training loop are used where it gives them (`performance.training["auroc"]`);
    any other training signal is measured on the logits that `observe` received. With `every` the
    new weights hold from the step after the one that completes the number.

    An update waits for a GPU once where its signal is measured on logits, and not at all where it
    is given. The end of an epoch waits once more, for its notes.
    """

    undefined: Tensor
    notified: Tensor

    def __init__(
        self,
        tasks: Tasks,
        raise_factor: float = 1.1,
        cap: float = 1.5,
        decay: float = 1.05,
        initial: str | float = "ones",
        signal: str = "accuracy",
        split: str = "train",
        threshold: str = "mean",
        dead_band: float = 0.0,
        floor: float = 0.0,
        renormalize: bool = False,
        every: int = 0,
        trend_epochs: int = 1,
        certainty: float = 0.0,
        context: Context = Context(),
    ) -> None:
        super().__init__(tasks, initial_weights(initial, tuple(tasks), context))
        self.rule = Rule(raise_factor, cap, decay, threshold, dead_band, floor, renormalize)
        self.source = SignalSource(signal, split, every, trend_epochs)
        _check_certainty(certainty, signal, every)
        self.certainty = certainty
        none = torch.zeros(len(self.tasks), dtype=torch.bool)
        self.register_buffer("undefined", none)  # tasks that lacked a signal so far
        self.register_buffer("notified", none.clone())  # those that the user has been told of

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Collect a step's results, each (B, T), where the signal is measured on them."""
        self.source.observe(logits, labels, known)

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Update the weights for the next step where `every` steps are complete."""
        self._update(self.source.after_step())

    def end_epoch(self, performance: Performance) -> list[str]:
        """Update the weights; note once for each task that its signal is undefined.

        Raises `UsageError` when the signal is neither among the metrics nor to be measured, and
        when `certainty` lacks the number of patients.
        """
        values, source = self.source.end_epoch(performance), self.source
        margin: Tensor | float = 0.0
        if self.certainty and values is not None:
            patients = patients_of(performance, source.split, "deepchest")
            margin = self.certainty * STANDARD_ERRORS[source.signal](values.cpu(), patients)
        self._update(values, margin)
        signal = f"{source.split} {source.signal}"
        new = self.named(self.undefined & ~self.notified)
        self.notified |= self.undefined
        return [f"The {signal} of {task} is undefined: its weight stays." for task in new]

    def _update(self, signal: Tensor | None, margin: Tensor | float = 0.0) -> None:
        if signal is None:
            return
        # a signal that was measured on a GPU is waited for here
        directions = self.rule.directions(signal.cpu(), self.source.more_is_worse, margin)
        directions = to_like(directions, self.task_weights)
        self.task_weights.copy_(self.rule.updated(self.task_weights, directions))
        self.undefined |= directions.isnan()


def _check_certainty(certainty: float, signal: str, every: int) -> None:
    check_option("deepchest", "certainty", certainty, 0 <= certainty < math.inf, "0 or above")
    known = ", ".join(STANDARD_ERRORS)
    for is_valid, case, hint in (
        (signal in STANDARD_ERRORS, f"signal={signal}", f"Standard errors are known of: {known}."),
        (not every, f"every={every}", "The patients of a whole epoch are known, not of its steps."),
    ):
        check_option(
            "deepchest", "certainty", certainty, is_valid or not certainty, f"0 with {case}", hint
        )

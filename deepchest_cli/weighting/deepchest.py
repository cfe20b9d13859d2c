"""DeepChest: weights that follow each task's accuracy (Mohamed et al. 2025, arXiv 2505.23595).

Once an epoch, with a_i the task's training accuracy and theta the mean of all a_i:
    a_i < theta:   w_i <- min(raise_factor * w_i, cap)
    otherwise:     w_i <- w_i / decay
The objective is the sum of w_i L_i. The constants are those of the authors' code; options beyond
them change the signal a, the threshold theta, and what keeps the weights together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    Context,
    HeldWeighter,
    Performance,
    TaskLosses,
)
from deepchest_cli.weighting.initial_weights import initial_weights
from deepchest_cli.weighting.rule import Rule
from deepchest_cli.weighting.signal_source import SignalSource


class DeepChestWeighter(HeldWeighter):
    """Raise the weight of tasks that do worse than the threshold, lower that of the others.

    raise_factor: above 1, in the authors' code 1.1.
    cap: the largest weight that raising reaches, positive, 1.5.
    decay: above 1, 1.05.
    initial: the weights before the first update, see `initial_weights`; the authors' are figures
        of a file for each backbone, here `authors-cnn` and `authors-resnet`.
    signal: accuracy, as in the authors' code; balanced-accuracy, f1, auroc, average-precision;
        loss, normalized-cross-entropy (the loss divided by that of predicting the prevalence) or
        loss-trend (the loss divided by that of `trend_epochs` epochs before), where a task
        *above* the threshold is raised. A task whose signal is undefined keeps its weight.
    part: whose signal, training or validation; training.
    threshold: mean or median of the defined signals; mean.
    dead_band: from 0 to below 1: between theta (1 - dead_band) and theta (1 + dead_band) a weight
        stays; 0.
    floor: the lowest weight that decay reaches, from 0 to below the cap; 0, which is none.
    renormalize: whether the weights are scaled to the sum T after each update, beyond cap and
        floor where need be; no.
    every: 0, once an epoch, or a number of steps: the update then follows from the logits observed
        in these steps, also across an epoch's end, where nothing happens any more.
    trend_epochs: at least 1; of loss-trend alone.

    The loop's own figures are taken where it gives them (`performance.training["auroc"]`); any
    other training signal is measured on what `observe` was shown. Under `every` the new weights
    hold from the step after the one that completes the number: `after_step` brings them in.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        raise_factor: float = 1.1,
        cap: float = 1.5,
        decay: float = 1.05,
        initial: str | float = "ones",
        signal: str = "accuracy",
        part: str = "training",
        threshold: str = "mean",
        dead_band: float = 0.0,
        floor: float = 0.0,
        renormalize: bool = False,
        every: int = 0,
        trend_epochs: int = 1,
        context: Context | None = None,
    ) -> None:
        weights = initial_weights(initial, tuple(tasks), context or Context())
        super().__init__(tasks, weights)
        self.rule = Rule(raise_factor, cap, decay, threshold, dead_band, floor, renormalize)
        self.source = SignalSource(signal, part, every, trend_epochs)
        self.undefined: set[str] = set()  # met without a signal so far
        self.said: set[str] = set()  # and told to the user

    @property
    def cap(self) -> float:
        """The largest weight that raising reaches."""
        return self.rule.cap

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Collect a step's results, each (B, T), where the signal is measured on them."""
        self.source.observe(logits, labels, known)

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Update the weights for the next step where `every` steps are complete."""
        self._update(self.source.after_step())

    def end_epoch(self, performance: Performance) -> list[str]:
        """Update the weights; say once of each task that it keeps its weight for want of a signal.

        Raises `UsageError` when the signal is neither among the figures nor to be measured.
        """
        self._update(self.source.end_epoch(performance))
        unsaid = [task for task in self.tasks if task in self.undefined - self.said]
        self.said |= self.undefined
        what = f"{self.source.part} {self.source.signal}"
        return [f"The {what} of {task} is undefined: its weight stays." for task in unsaid]

    def _update(self, signal: Tensor | None) -> None:
        if signal is None:
            return
        values = signal.to(self.task_weights)
        self.task_weights.copy_(
            self.rule.updated(self.task_weights, values, self.source.more_is_worse)
        )
        without = torch.isnan(values).tolist()
        self.undefined |= {t for t, none in zip(self.tasks, without, strict=True) if none}

    def get_extra_state(self) -> dict[str, Any]:
        """Return what is not a buffer: the observed steps, past losses, and what has been said."""
        marks = {"undefined": sorted(self.undefined), "said": sorted(self.said)}
        return {**self.source.state(), **marks}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.source.load(state)
        self.undefined, self.said = set(state["undefined"]), set(state["said"])

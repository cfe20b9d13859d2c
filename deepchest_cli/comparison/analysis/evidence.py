"""What the claims of the paper are judged by, and what of it does not count, with the reason."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepchest_cli.comparison.analysis.metrics import (
    CHANCE_AUROC,
    MACRO_AUROC,
    describe,
)
from deepchest_cli.comparison.analysis.scores import Scores
from deepchest_cli.comparison.running.jobs import Arm
from deepchest_cli.data.text import count_of
from deepchest_cli.reporting.numbers import interval, number
from deepchest_cli.weighting.catalog import WEIGHTERS

DEEPCHEST, COMBINED = "deepchest", "deepchest+"

Costs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """The results of a comparison; a reason why something does not count is a clause."""

    arms: Sequence[Arm]
    scores: Mapping[str, Scores]  # of the arms whose runs have all finished, by label
    best_epochs: Mapping[str, Sequence[int]]  # of the runs of these arms, counted from 1
    findings: Sequence[str]
    costs: Costs
    gradient_level: str  # at which single tasks' gradients were taken: features or parameters
    margin: float  # the smallest difference of macro AUROC that matters

    @property
    def rivals(self) -> list[Arm]:
        """The arms with a published method of others: no baseline, and no variant of DeepChest."""
        return [
            arm
            for arm in self.arms
            if (info := WEIGHTERS.get(arm.weighter)) and info.published and info.name != DEEPCHEST
        ]

    @property
    def unfinished(self) -> str:
        """Which rivals are not compared for lack of results, as a sentence; empty if none."""
        labels = [arm.label for arm in self.rivals if arm.label not in self.scores]
        return f" Not finished: {', '.join(labels)}." if labels else ""

    @property
    def unfinished_pairs(self) -> str:
        """Which arms `deepchest+X` lack results though X has some, as a sentence."""
        labels = [
            arm.label
            for arm in self.arms
            if arm.label.startswith(COMBINED)
            and arm.label not in self.scores
            and arm.label.removeprefix(COMBINED) in self.scores
        ]
        return f" Not finished: {', '.join(labels)}." if labels else ""

    @property
    def gradient_rivals(self) -> list[str]:
        """The labels of those that need the gradients of single tasks, where costs are known."""
        return [a.label for a in self.rivals if a.needs_gradients and a.label in self.costs]

    @property
    def cost_excluded(self) -> str | None:
        """Why time and memory do not count: the paper's rivals work at the parameters."""
        if self.gradient_level == "parameters":
            return None
        return (
            f"gradients were taken at the {self.gradient_level}; the paper's rivals take them at "
            "the parameters (--gradient-level parameters)"
        )

    def excluded(self, label: str, other: str) -> str | None:
        """Return why an arm with DeepChest's weights is not compared with another one."""
        return self._unmoved(label) or self._unlearned(label) or self._unlearned(other)

    def _unmoved(self, label: str) -> str | None:
        """Return that DeepChest's weights had no effect on any selected model of an arm.

        They change at the end of an epoch, from 1: a run's first epoch is one without DeepChest.
        """
        if any(epoch > 1 for epoch in self.best_epochs[label]):
            return None
        other = "equal weighting" if label == DEEPCHEST else label.removeprefix(COMBINED)
        return (
            f"DeepChest's weights had not moved before the kept epoch of any run of {label}, so "
            f"that it was {other}"
        )

    @property
    def partly_unmoved(self) -> str:
        """How many of DeepChest's runs were equal weighting, as a sentence; empty if none."""
        epochs = self.best_epochs[DEEPCHEST]
        unmoved = sum(epoch <= 1 for epoch in epochs)
        runs = f"{unmoved} of {count_of(len(epochs), 'run')}"
        return f" In {runs} the weights had not moved before the kept epoch." if unmoved else ""

    def _unlearned(self, label: str) -> str | None:
        """Return that an arm's models are no better than chance."""
        found = describe(MACRO_AUROC.of(self.scores[label]))
        # the same under all resampled patients: no interval, and the value speaks for itself
        lowest = found["mean"] if math.isnan(found["low"]) else found["low"]
        if lowest > CHANCE_AUROC:
            return None
        return (
            f"the models of {label} have not learned (macro AUROC {number(found['mean'])}, 95 % "
            f"interval {interval(found)})"
        )

"""DeepChest's weights on the losses, another method on the weighted losses."""

from collections.abc import Callable

from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import LossWeighter, Performance, TaskLosses
from deepchest_cli.weighting.deepchest import DeepChestWeighter

FACTOR_FREE = "constant factors of the losses do not change how it weighs them against each other"
UNFIT = {
    "deepchest": "its weights would be multiplied by themselves",
    "scale-invariant": FACTOR_FREE,
    "gls": FACTOR_FREE,
    "inverse-loss": FACTOR_FREE,
    "famo": FACTOR_FREE,
}


def build_composite(
    deepchest: DeepChestWeighter, other_name: str, other: LossWeighter
) -> "CompositeWeighter":
    """Return the weighter `deepchest+OTHER`.

    Raises `UsageError` where DeepChest's weights would have no effect, or apply twice.
    """
    if other_name in UNFIT:
        raise UsageError(
            f"The weighter 'deepchest+{other_name}' makes no sense: {UNFIT[other_name]}."
        )
    return CompositeWeighter(deepchest, other)


class CompositeWeighter(LossWeighter):
    """The objective X(w_1 L_1, ..., w_T L_T), w_i DeepChest's weights and X the other method."""

    def __init__(self, deepchest: DeepChestWeighter, other: LossWeighter) -> None:
        super().__init__(deepchest.tasks)
        self.deepchest, self.other = deepchest, other
        self.additive = deepchest.additive and other.additive  # type: ignore[misc]  # of the parts

    @property
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,): w_i times X's."""
        others = self.other.weights
        return None if others is None else self.deepchest.weights.to(others.device) * others

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the other method's objective of the weighted losses."""
        objective: Tensor = self.other(self._weighted(losses))
        return objective

    def _weighted(self, losses: TaskLosses) -> TaskLosses:
        # the type first: Metal has no double precision
        weights = self.deepchest.weights.to(losses.values.dtype).to(losses.values.device)
        return TaskLosses(weights * losses.values, losses.known)

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Show both a step's results."""
        self.deepchest.observe(logits, labels, known)
        self.other.observe(logits, labels, known)

    def end_epoch(self, performance: Performance) -> list[str]:
        """Show both the epoch's figures, the losses among them without weights."""
        return self.deepchest.end_epoch(performance) + self.other.end_epoch(performance)

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Show both the losses after the update, the other one with the weights of the step."""
        self.other.after_step(lambda: self._weighted(recompute()))
        self.deepchest.after_step(recompute)  # last, for it may change the weights

"""DeepChest's weights on the losses, another method on the weighted losses."""

from collections.abc import Callable

from torch import Tensor

from deepchest_cli.weighting.base import LossWeighter, Performance, TaskLosses, Weighter, to_like
from deepchest_cli.weighting.catalog import refuse_incompatible
from deepchest_cli.weighting.deepchest import DeepChestWeighter
from deepchest_cli.weighting.gradients.base import GradientWeighter


def build_composite(deepchest: DeepChestWeighter, other_name: str, other: Weighter) -> Weighter:
    """Return the weighter `deepchest+OTHER`.

    Raises `UsageError` where DeepChest's weights would have no effect, or apply twice.
    """
    refuse_incompatible(other_name)
    if isinstance(other, GradientWeighter):
        return CompositeGradientWeighter(deepchest, other)
    assert isinstance(other, LossWeighter)
    return CompositeWeighter(deepchest, other)


class _Composite(Weighter):
    """The two weighters of a composite, and the hooks that it calls on both."""

    def __init__(self, deepchest: DeepChestWeighter, other: Weighter) -> None:
        super().__init__(deepchest.tasks)
        self.deepchest, self.other = deepchest, other

    @property
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,): w_i times X's."""
        others = self.other.weights
        return None if others is None else self._product(others)

    def _product(self, others: Tensor) -> Tensor:
        own = self.deepchest.weights  # in double precision where they can be
        return others * (own if own.device == others.device else to_like(own, others))

    def _factors(self, losses: TaskLosses) -> Tensor:
        return to_like(self.deepchest.weights, losses.values)

    def _weighted(self, losses: TaskLosses) -> TaskLosses:
        return TaskLosses(self._factors(losses) * losses.values, losses.known)

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        self.deepchest.observe(logits, labels, known)
        self.other.observe(logits, labels, known)

    def end_epoch(self, performance: Performance) -> list[str]:
        """Pass the epoch's metrics to both; the losses among them are unweighted."""
        return self.deepchest.end_epoch(performance) + self.other.end_epoch(performance)

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Pass both the losses after the update, weighted as in the step for the other method."""
        self.other.after_step(lambda: self._weighted(recompute()))
        self.deepchest.after_step(recompute)  # last, since it may change the weights


class CompositeWeighter(_Composite, LossWeighter):
    """The objective X(w_1 L_1, ..., w_T L_T), w_i DeepChest's weights and X the other method."""

    def __init__(self, deepchest: DeepChestWeighter, other: LossWeighter) -> None:
        super().__init__(deepchest, other)
        self.additive = deepchest.additive and other.additive  # type: ignore[misc]  # of the two

    def forward(self, losses: TaskLosses) -> Tensor:
        objective: Tensor = self.other(self._weighted(losses))
        return objective


class CompositeGradientWeighter(_Composite, GradientWeighter):
    """The direction X(w_1 g_1, ..., w_T g_T), g_i the gradient of task i; else as above."""

    other: GradientWeighter

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the other method's direction (K,) for the weighted losses' gradients (T, K)."""
        factors = self._factors(losses).to(jacobian.dtype)
        direction: Tensor = self.other(self._weighted(losses), factors[:, None] * jacobian)
        return direction

    @property
    def head_weights(self) -> Tensor:
        """DeepChest's weights (T,) times the other method's head weights."""
        return self._product(self.other.head_weights)

"""What the methods have in common that combine the gradients of a step, by a solver or not."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor

from deepchest_cli.data.text import count_of
from deepchest_cli.weighting.base import (
    Context,
    Performance,
    PrivateGenerator,
    TaskLosses,
    Tasks,
    to_like,
)
from deepchest_cli.weighting.gradients.adapter import require
from deepchest_cli.weighting.gradients.base import (
    GradientWeighter,
    active_tasks,
    gramian_of,
    sum_of,
)


class AggregatedWeighter(GradientWeighter):
    """A method that combines the gradients of the active tasks of a step.

    Those are the tasks that are present and have a gradient; the others do not count.
    """

    name: ClassVar[str]
    uses_torchjd: ClassVar[bool] = False

    def __init__(self, tasks: Tasks, context: Context = Context()) -> None:
        super().__init__(tasks)
        if self.uses_torchjd:
            require(f"The weighter {self.name!r} needs")
        self.private = PrivateGenerator(context.seed)
        self.last_weights: Tensor | None = None

    @property
    def weights(self) -> Tensor | None:
        """The weights (T,) of the tasks' gradients in the direction, as last used."""
        return None if self.last_weights is None else self.last_weights.clone()

    def weighted(self, weights: Tensor, gradients: Tensor) -> Tensor:
        """Return the sum (K,) of the gradients (T, K) times weights (T,), which are recorded."""
        self.last_weights = to_like(weights, self.equal_weights)  # on the device, for the record
        return sum_of(self.last_weights, gradients)

    def draw_seed(self) -> int:
        """Return the seed of what a step draws."""
        return int(torch.randint(2**62, (), generator=self.private.generator))


class SolvedWeighter(AggregatedWeighter):
    """A method whose direction is the sum of w_i g_i, with weights that a solver finds.

    Solvers run on the CPU in double precision, so that each step waits for a device once: for the
    products of all pairs of gradients. Where the solver fails, the active tasks have equal weights;
    `end_epoch` reports how often.
    """

    saved: ClassVar[tuple[str, ...]] = ("failures",)
    equal_sum_to_one: ClassVar[bool] = True  # whether equal weights are 1 / m, else 1

    def __init__(self, tasks: Tasks, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        self.failures = 0  # of the solver in this epoch

    @abstractmethod
    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        """Return the weights (m,) of the active tasks.

        gramian (m, m): the products of their gradients, divided by `scale`: its trace is one.
        active (T,): which tasks these are. All lie on the CPU.
        """

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) for the gradients (T, K) of all tasks."""
        gradients = jacobian.detach()
        gramian, present = gramian_of(gradients, losses.present)
        if not gramian.isfinite().all():
            return gradients.sum(dim=0)  # half precision skips such a step, or the run diverged
        active = active_tasks(present, gramian.diagonal().sqrt())
        weights = torch.zeros(len(self.tasks), dtype=torch.float64)
        with self._private_random_state():
            if active.any():
                weights[active] = self._solve_or_equal(gramian[active][:, active], active)
        return self.weighted(weights, gradients)

    @contextmanager
    def _private_random_state(self) -> Iterator[None]:
        """Let a solver draw from torch's global generator of the CPU without changing its state."""
        seed = self.draw_seed()
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(seed)
            yield

    def _solve_or_equal(self, gramian: Tensor, active: Tensor) -> Tensor:
        scale, size = float(gramian.trace()), len(gramian)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of solvers, about accuracy and their own future
                weights = self.solve(gramian / scale, scale, active).double()
        except Exception:  # each solver has errors of its own
            weights = torch.full((size,), math.nan)
        if weights.isfinite().all():
            return weights
        self.failures += 1
        return torch.full((size,), 1 / size if self.equal_sum_to_one else 1.0, dtype=torch.float64)

    def end_epoch(self, performance: Performance) -> list[str]:
        failures, self.failures = self.failures, 0
        if not failures:
            return []
        steps = count_of(failures, "step")
        return [f"The solver of {self.name} failed in {steps}, which used equal weights."]

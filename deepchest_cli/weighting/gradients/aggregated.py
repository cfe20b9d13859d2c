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
from deepchest_cli.weighting.base import Context, Performance, PrivateGenerator, TaskLosses, Tasks
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

    @abstractmethod
    def combine(self, gradients: Tensor, gramian: Tensor, active: Tensor) -> Tensor:
        """Return the direction (K,), and record the weights where the method has any.

        gradients (T, K), gramian (T, T): their products in double precision, on the CPU.
        active (T,): which tasks count.
        """

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) for the gradients (T, K) of all tasks."""
        gradients = jacobian.detach()
        gramian = gramian_of(gradients)
        if not gramian.isfinite().all():
            return gradients.sum(dim=0)  # half precision skips such a step, or the run diverged
        active = active_tasks(losses, gramian.diagonal().sqrt())
        with self._private_random_state(gradients.device):
            return self.combine(gradients, gramian, active)

    def weighted(self, gradients: Tensor) -> Tensor:
        """Return the sum (K,) of the gradients (T, K) times the last weights."""
        assert self.last_weights is not None
        return sum_of(self.last_weights, gradients)

    @contextmanager
    def _private_random_state(self, device: torch.device) -> Iterator[None]:
        """Let a method draw from torch's global generators without changing their states."""
        seed = int(torch.randint(2**62, (), generator=self.private.generator))
        on_gpu = device.type == "cuda"
        with torch.random.fork_rng([device] if on_gpu else []):
            torch.default_generator.manual_seed(seed)
            if not on_gpu:
                yield
                return
            with torch.cuda.device(device):  # which need not be the current one
                torch.cuda.manual_seed(seed)
                yield


class SolvedWeighter(AggregatedWeighter):
    """A method whose direction is the sum of w_i g_i, with weights that a solver finds.

    Where the solver fails, the active tasks have equal weights; `end_epoch` reports how often.
    """

    saved = ("failures",)
    equal_sum_to_one: ClassVar[bool] = True  # whether equal weights are 1 / m, else 1

    def __init__(self, tasks: Tasks, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        self.failures = 0  # of the solver in this epoch

    @abstractmethod
    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        """Return the weights (m,) of the active tasks.

        gramian (m, m): the products of their gradients, divided by `scale`: its trace is one.
        active (T,): which tasks these are.
        """

    def combine(self, gradients: Tensor, gramian: Tensor, active: Tensor) -> Tensor:
        self.last_weights = torch.zeros(len(self.tasks), dtype=torch.float64)
        if active.any():
            self.last_weights[active] = self._solve_or_equal(gramian[active][:, active], active)
        return self.weighted(gradients)

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

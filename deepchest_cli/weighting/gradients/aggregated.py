"""What the methods have in common that turn a step's gradients into weights by a solver."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from deepchest_cli.data.text import count_of
from deepchest_cli.weighting.base import Context, Performance, TaskLosses
from deepchest_cli.weighting.gradients.adapter import require
from deepchest_cli.weighting.gradients.base import (
    GradientWeighter,
    gramian_of,
    sum_of,
    tasks_with_gradient,
)

NO_SEED_GIVEN = Context()


class AggregatedWeighter(GradientWeighter):
    """A method that combines the gradients of the tasks that take part in a step.

    Those are the tasks that are present and have a gradient; the others have no say.
    """

    name: ClassVar[str]
    by_torchjd: ClassVar[bool] = False  # whether torchjd computes it

    def __init__(self, tasks: Sequence[str], context: Context = NO_SEED_GIVEN) -> None:
        super().__init__(tasks)
        if self.by_torchjd:
            require(f"The weighter {self.name!r} needs")
        self.generator = torch.Generator().manual_seed(context.seed)
        self.last: Tensor | None = None

    @property
    def weights(self) -> Tensor | None:
        """The weights (T,) of the tasks' gradients in the direction, as last used."""
        return None if self.last is None else self.last.clone()

    @abstractmethod
    def combine(self, gradients: Tensor, gramian: Tensor, taking_part: Tensor) -> Tensor:
        """Return the direction (K,), and remember the weights where the method has any.

        gradients (T, K), gramian (T, T): their products in double precision, on the CPU.
        taking_part (T,): which tasks have a say.
        """

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) for the gradients (T, K) of all tasks."""
        gradients = jacobian.detach()
        gramian = gramian_of(gradients)
        if not gramian.isfinite().all():
            return gradients.sum(dim=0)  # what half precision's scaling skips, or a diverged run
        taking_part = tasks_with_gradient(losses, gramian.diagonal().sqrt())
        with self._own_draws(gradients.device):
            return self.combine(gradients, gramian, taking_part)

    def weighted(self, gradients: Tensor) -> Tensor:
        """Return the sum (K,) of the gradients (T, K) times the last weights."""
        assert self.last is not None
        return sum_of(self.last, gradients)

    @contextmanager
    def _own_draws(self, device: torch.device) -> Iterator[None]:
        """Let a method draw from torch's states without a trace in them."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        on_gpu = device.type == "cuda"
        with torch.random.fork_rng([device] if on_gpu else []):
            torch.default_generator.manual_seed(seed)
            if not on_gpu:
                yield
                return
            with torch.cuda.device(device):  # which need not be the current one
                torch.cuda.manual_seed(seed)
                yield

    def get_extra_state(self) -> dict[str, Any]:
        """Return the generator's state."""
        return {"generator": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint, as copies."""
        self.generator.set_state(state["generator"].cpu())


class SolvedWeighter(AggregatedWeighter):
    """A method whose direction is the sum of w_i g_i, the weights solving a problem of the step's.

    Where the solver fails, the step weighs all that take part equally; `end_epoch` says how often.
    """

    average: ClassVar[bool] = True  # whether equal weights are 1 / m, else 1

    def __init__(self, tasks: Sequence[str], context: Context = NO_SEED_GIVEN) -> None:
        super().__init__(tasks, context)
        self.failures = 0  # of the solver in this epoch

    @abstractmethod
    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part.

        gramian (m, m): the products of their gradients, divided by `scale`: its trace is one.
        taking_part (T,): which tasks these are.
        """

    def combine(self, gradients: Tensor, gramian: Tensor, taking_part: Tensor) -> Tensor:
        """Return the direction (K,), and remember the weights."""
        self.last = torch.zeros(len(self.tasks), dtype=torch.float64)
        if taking_part.any():
            self.last[taking_part] = self._solve(gramian[taking_part][:, taking_part], taking_part)
        return self.weighted(gradients)

    def _solve(self, gramian: Tensor, taking_part: Tensor) -> Tensor:
        scale, size = float(gramian.trace()), len(gramian)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of solvers, about accuracy and their own future
                weights = self.weigh(gramian / scale, scale, taking_part).double()
        except Exception:  # each solver has errors of its own
            weights = torch.full((size,), math.nan)
        if weights.isfinite().all():
            return weights
        self.failures += 1
        return torch.full((size,), 1 / size if self.average else 1.0, dtype=torch.float64)

    def end_epoch(self, performance: Performance) -> list[str]:
        """Say in how many steps the solver has failed."""
        failures, self.failures = self.failures, 0
        if not failures:
            return []
        steps = count_of(failures, "step")
        return [f"The solver of {self.name} failed in {steps}, which weighed all findings equally."]

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of failures with the rest."""
        return {**super().get_extra_state(), "failures": self.failures}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint, as copies."""
        super().set_extra_state(state)
        self.failures = state["failures"]

"""Random loss weighting (Lin, Ye, Zhang and Tsang 2021, arXiv 2111.10603).

At every step, with L_i the loss of task i and z_i drawn from a standard normal distribution:
    w_i = exp(z_i) / (the sum of all exp(z_j))
The objective is the sum of w_i L_i, over the tasks that are present; the weights add up to 1 as
in the paper, not to the number of tasks. A method should do better than these random weights.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    Context,
    PerStepWeighter,
    PrivateGenerator,
    TaskLosses,
    Tasks,
    to_like,
)

AHEAD = 100  # steps whose numbers go to the device together: each copy to Metal waits for it


class NormalNumbers(PrivateGenerator):
    """Standard normal numbers for one step after the other, on the device of the weighter."""

    ahead: Tensor

    def __init__(self, seed: int, count: int) -> None:
        super().__init__(seed)
        ahead = torch.empty(0, count, dtype=torch.float64)
        self.register_buffer("ahead", ahead, persistent=False)  # (AHEAD, T)
        self.before = self.generator.get_state()  # the first of them
        self.used = 0  # of them

    def next(self) -> Tensor:
        """Return the numbers (T,) of a step."""
        if self.used == len(self.ahead):
            self.before, self.used = self.generator.get_state(), 0
            # step by step: many at once would be other numbers
            self.ahead = to_like(self._draw(self.generator, AHEAD), self.ahead)
        self.used += 1
        return self.ahead[self.used - 1]

    def _draw(self, generator: torch.Generator, steps: int) -> Tensor:
        count = self.ahead.shape[1]
        each = [torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(steps)]
        return torch.stack(each)

    def get_extra_state(self) -> Tensor:
        """Return the state, bytes, of a generator that has drawn nothing ahead."""
        generator = torch.Generator()
        generator.set_state(self.before)
        for _ in range(self.used):
            self._draw(generator, 1)
        return generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator's state, and draw anew."""
        super().set_extra_state(state)
        self.before, self.used = self.generator.get_state(), 0
        self.ahead = self.ahead[:0]


class RandomLossWeighter(PerStepWeighter):
    """Weights drawn at every step, by a private generator that the run's seed starts."""

    def __init__(self, tasks: Tasks, context: Context = Context()) -> None:
        super().__init__(tasks)
        self.private = NormalNumbers(context.seed, len(self.tasks))

    def forward(self, losses: TaskLosses) -> Tensor:
        return losses.weighted_by(self.record(losses.softmax(self.private.next())))

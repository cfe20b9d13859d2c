"""From a step's radiographs to the gradients of its model: what all kinds of weighters share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.forward import Forward, Outputs
from deepchest_cli.training.objective import Objective
from deepchest_cli.training.setup import Setup
from deepchest_cli.weighting import TaskLosses


@dataclass(frozen=True)
class Outcome:
    """What a step has found before its update, the same in all processes."""

    losses: TaskLosses
    logits: Tensor  # (B, T)
    weights: Tensor | None  # (T,), as used


class Propagation(ABC):
    """Leaves the gradients of a step in the parameters of the model, and of the weighter."""

    # whether torch averages the gradients over the processes as they come
    averages: ClassVar[bool] = True

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.forward = Forward(setup, self.averages)
        self.objective = Objective(setup.label_loss, setup.scaler)

    @abstractmethod
    def __call__(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Compute the gradients of step number `step`.

        parts: the network's input, this process's rows of the batch in parts.
        batch: its labels are those of all processes.
        """

    def outputs(self, parts: list[Tensor], step: int) -> Iterator[Outputs]:
        """Yield features (b, D) and logits (b, T) of each part, with their graph.

        What is back-propagated before the last part is averaged over the processes with that one.
        """
        for number, part in enumerate(parts):
            if number < len(parts) - 1:
                with self.setup.ranks.unsynced(self.forward.network):
                    yield self.forward.outputs(part, step, number)
            else:
                yield self.forward.outputs(part, step, number)

    def looked_at(self, parts: list[Tensor], step: int) -> tuple[Tensor, Iterator[Outputs]]:
        """Return the logits (B, T) of all processes, and what `outputs` yields.

        One part is computed once; several are looked at before they are computed with a graph.
        """
        if len(parts) > 1:
            return self.forward.all_logits(parts, step), self.outputs(parts, step)
        (whole,) = self.outputs(parts, step)
        return self.setup.ranks.gather(whole[1].detach()), iter([whole])

    def shares(self, of_batch: Tensor, parts: list[Tensor]) -> tuple[Tensor, ...]:
        """Return the rows (b, ...) of this process's parts among those (B, ...) of all."""
        sizes = [len(part) for part in parts]
        first = self.setup.ranks.rank * sum(sizes)
        return torch.split(of_batch[first : first + sum(sizes)], sizes)

    def back(self, outputs: Tensor, gradient: Tensor) -> None:
        """Go on backwards with the objective's gradient by a part's outputs."""
        # the processes' gradients are averaged, and the objective is a sum over their radiographs
        torch.autograd.backward(outputs, gradient.to(outputs.dtype) * self.setup.ranks.count)

"""What every weighter is: task losses in, one objective out, and a state that can be saved."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from deepchest_cli.data.transfer import to_device
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.certainty import PatientCounts

Tasks = Sequence[str]  # their names
MIN_LOSS = 1e-8  # a smaller loss counts as this one in divisions and logarithms


@dataclass(frozen=True)
class TaskLosses:
    """The losses of one batch; a task without a known label is absent from the step."""

    values: Tensor  # (T,), mean over the known labels; zero without gradient where there are none
    known: Tensor  # (T,), how many labels are known
    processes: int = 1  # whose batches these are the losses of

    @property
    def present(self) -> Tensor:
        """Which tasks (T,) have a known label in the batch."""
        return self.known > 0

    def softmax(self, scores: Tensor) -> Tensor:
        """Return the softmax (T,) over the present tasks' scores; zero for the others."""
        scores = to_like(scores, self.values).masked_fill(~self.present, float("-inf"))
        shares = torch.softmax(scores, dim=0)
        return torch.where(self.present, shares, torch.zeros_like(shares))  # none present: no NaN

    def weighted_by(self, weights: Tensor) -> Tensor:
        """Return the sum of the present tasks' losses times their weights (T,)."""
        return torch.where(self.present, to_like(weights, self.values), 0.0) @ self.values

    def detached_like(self, other: Tensor) -> "TaskLosses":
        """Return the losses without gradient in another tensor's precision on its device."""
        return TaskLosses(to_like(self.values.detach(), other), self.known.to(other.device))


@dataclass(frozen=True)
class Performance:
    """The metrics of an epoch: name to values (T,), NaN where one is undefined."""

    training: Mapping[str, Tensor] = field(default_factory=dict)
    validation: Mapping[str, Tensor] = field(default_factory=dict)
    patients: Mapping[str, PatientCounts] = field(default_factory=dict)  # of train, validation

    def training_losses(self, weighter: str) -> Tensor:
        """Return the mean training losses (T,); raises `UsageError` where nothing was trained."""
        if "loss" not in self.training:
            raise UsageError(
                f"The weighter {weighter!r} needs the 'loss' of each epoch.",
                f"Given: {', '.join(self.training) or 'nothing'}.",
            )
        return self.training["loss"]


@dataclass(frozen=True)
class Context:
    """What a training run hands a weighter, beside the options that a user sets."""

    seed: int = 0  # of a private generator, where a method draws
    prevalence: Tensor | None = None  # (T,), of the training labels; NaN: no known label
    epochs: int | None = None  # planned


class Weighter(nn.Module, ABC):
    """Common to all: the tasks, the trace of weights, and the hooks of a training loop.

    All state lives in buffers, parameters and the extra state of torch's modules, so that
    `state_dict` resumes a run exactly. Parameters, where a method learns its weights with the
    model, belong into an optimizer group of their own without weight decay.
    """

    # whether a step's objective is the sum of the objectives of its micro-batches, so that each
    # can be back-propagated before the next one's forward pass
    additive: ClassVar[bool] = False

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def named(self, chosen: Tensor) -> list[str]:
        """Return the names of the tasks that a mask (T,) chooses."""
        return [task for task, is_in in zip(self.tasks, chosen.tolist(), strict=True) if is_in]

    # attributes that a checkpoint holds beside buffers and parameters: plain values and CPU tensors
    saved: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,), as last used.

        None before the first step of a method whose weights follow from the losses.
        """

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Receive the results of a step, each (B, T), before the update."""

    def end_epoch(self, performance: Performance) -> list[str]:
        """Receive the metrics of an epoch; return notes for the user."""
        return []

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Run after the update; `recompute` gives the losses of the same batch."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Weighter":
        """Move the state with a model that the weighter is a part of; keep double precision.

        Only Metal has none: there it becomes single.
        """

        def moved(value: Tensor) -> Tensor:
            if value.dtype != torch.float64:
                return fn(value)
            device = fn(value.new_empty(0, dtype=torch.float32)).device
            return value.to(device, torch.float32 if device.type == "mps" else None)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self

    def get_extra_state(self) -> dict[str, Any]:
        """Return the values of `saved` for torch's `state_dict`."""
        return {name: getattr(self, name) for name in self.saved}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore copies of the values of `saved`."""
        for name in self.saved:
            value = state[name]
            is_tensor = isinstance(value, Tensor)
            setattr(self, name, value.cpu().clone() if is_tensor else copy.deepcopy(value))


class LossWeighter(Weighter):
    """A weighter that needs the losses only, no gradients."""

    @abstractmethod
    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the scalar objective to back-propagate."""


class WeightedSumWeighter(LossWeighter):
    """A loss weighter that stores its weights: the objective is the sum of w_i L_i.

    The weights are in double precision, so that a trace equals one computed by hand (in single
    precision on Metal).
    """

    additive = True
    task_weights: Tensor

    def __init__(self, tasks: Tasks, weights: Tensor | None = None) -> None:
        super().__init__(tasks)
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("task_weights", ones if weights is None else weights)

    @property
    def weights(self) -> Tensor:
        """The weights (T,) that the next step uses."""
        return self.task_weights.clone()

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the weighted sum of the losses."""
        return losses.weighted_by(self.task_weights)


class PerStepWeighter(LossWeighter):
    """A loss weighter that computes its weights from the losses of each step."""

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks)
        self.last_weights: Tensor | None = None

    @property
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,), as last used."""
        return self.last_weights

    def record(self, weights: Tensor) -> Tensor:
        """Keep the weights (T,) of this step for the trace, and return them."""
        self.last_weights = weights.detach().clone()
        return weights


class PrivateGenerator(nn.Module):
    """A random generator on the CPU, for the same draws on every device; saved with a weighter."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def get_extra_state(self) -> Tensor:
        """Return the generator's state, bytes."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the generator's state; a checkpoint may have moved it to another device."""
        self.generator.set_state(state.cpu())


def safe_log(losses: TaskLosses) -> Tensor:
    """Return the logarithms (T,) of the losses, of `MIN_LOSS` where one is smaller or absent."""
    return losses.values.clamp(min=MIN_LOSS).log()


def to_like(values: Tensor, other: Tensor) -> Tensor:
    """Return values in another tensor's precision on its device; either may be Metal's.

    Only what leaves a device waits for it, and what goes to Metal that is learned or no vector.
    """
    # in these orders: Metal has no double precision
    if other.device.type == "cpu":
        return values.cpu().to(other.dtype)
    values = values.to(other.dtype)
    # Metal would wait for a copy, and so it gets numbers as arguments
    from_cpu = values.device.type == "cpu" and not values.requires_grad
    if other.device.type == "mps" and from_cpu and values.ndim == 1:
        return torch.stack([other.new_full((), value) for value in values.tolist()])
    return to_device(values, other.device)


def patients_of(performance: Performance, split: str, weighter: str) -> PatientCounts:
    """Return how many patients of a split have labels; raise `UsageError` where that is unknown."""
    if split not in performance.patients:
        raise UsageError(
            f"The certainty of {weighter} needs to know how many patients are in {split}.",
            f"Give Performance its patients[{split!r}], or set certainty to 0.",
        )
    return performance.patients[split]


def check_option(
    weighter: str, option: str, value: object, is_valid: bool, rule: str, hint: str = ""
) -> None:
    """Raise `UsageError` with the rule for an option's value that is not valid."""
    if not is_valid:
        raise UsageError(f"Option {option!r} of {weighter} should be {rule}. Found {value}.", hint)

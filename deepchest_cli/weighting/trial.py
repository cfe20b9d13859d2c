"""Short runs on made-up losses, on which the properties of any weighter are tried."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle, islice, zip_longest

import torch
from torch import Tensor

from deepchest_cli.weighting.base import Context, Performance, TaskLosses, Weighter
from deepchest_cli.weighting.certainty import PatientCounts
from deepchest_cli.weighting.gradients.base import GradientWeighter
from deepchest_cli.weighting.registry import build_weighter

TASKS = ("a", "b", "c", "d")
# of one task after the other, again from the first where there are more than four
PLAIN = (0.3, 1.0, 0.2, 0.5)  # losses
FALLING = (1.0, 0.5, 0.1, 2.0)  # losses of a run's first step
LENGTHS = (1.0, 0.5, 0.02, 3.0)  # of gradients
PREVALENCE = (0.3, 0.1, 0.02, 0.1)
SCORES = ((0.1, 0.5, 0.9, 0.7), (0.6, 0.5, 0.9, 0.7))  # of two epochs
METRICS = (
    "accuracy", "balanced_accuracy", "f1", "auroc", "average_precision", "normalized_cross_entropy",
)  # fmt: skip
IMAGES = 8  # of a batch
NUMBERS = 60  # of a gradient
EPOCHS = 20  # that a weighter is told of


def losses_of(values: Sequence[float], known: Sequence[int] | None = None) -> TaskLosses:
    """Return losses in single precision, of tasks with eight known labels each by default."""
    counts = torch.tensor(known or [IMAGES] * len(values))
    return TaskLosses(torch.tensor(values, dtype=torch.float32, requires_grad=True), counts)


def conflicting(
    scale: float = 1.0, numbers: int = NUMBERS, seed: int = 0, tasks: int = 4
) -> Tensor:
    """Return gradients (T, K) of very different lengths, some against each other."""
    chance = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(tasks, numbers, generator=chance)
    if tasks > 1:
        jacobian[1] -= 0.8 * jacobian[0]
    return scale * torch.tensor(cycled(LENGTHS, tasks))[:, None] * jacobian


def performance_of(scores: Sequence[float], losses: Sequence[float]) -> Performance:
    """Return an epoch in which every metric has these values."""
    values = {metric: torch.tensor(scores, dtype=torch.float64) for metric in METRICS}
    values["loss"] = torch.tensor(losses, dtype=torch.float64)
    labels = torch.arange(2 * IMAGES)[:, None] < torch.tensor([IMAGES] * len(scores))
    patients = PatientCounts.of(labels, torch.ones_like(labels))
    return Performance(values, dict(values), {"train": patients, "validation": patients})


def cycled(values: Iterable[float], count: int) -> list[float]:
    """Return `count` values, from the first again after the last."""
    return list(islice(cycle(values), count))


@dataclass(frozen=True)
class Trial:
    """A weighter by name and options, built as often as a property asks for it."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    tasks: tuple[str, ...] = TASKS
    expected_sha256: str | None = None  # of the file of one's own

    @classmethod
    def of(cls, name: str, options: Mapping[str, str]) -> "Trial":
        """Return the trial of a weighter with options as text."""
        return cls(name, tuple(options.items()))

    @property
    def order(self) -> list[int]:
        """Another order of the tasks."""
        count = len(self.tasks)
        pairs = zip_longest(range(count // 2, count), range(count // 2))  # 2, 0, 3, 1 of four
        return [number for number in chain.from_iterable(pairs) if number is not None]

    def values(self, pattern: Iterable[float], order: Sequence[int] | None = None) -> list[float]:
        """Return a value for each task, in an order of the tasks."""
        values = cycled(pattern, len(self.tasks))
        return values if order is None else [values[i] for i in order]

    def build(self, order: Sequence[int] | None = None, seed: int = 0) -> Weighter:
        """Return a new weighter for the tasks in an order."""
        tasks = [self.tasks[i] for i in order or range(len(self.tasks))]
        prevalence = torch.tensor(self.values(PREVALENCE, order), dtype=torch.float64)
        context = Context(seed, prevalence, EPOCHS)
        return build_weighter(self.name, tasks, self.options, context, self.expected_sha256)

    def only(self, chosen: Sequence[int]) -> "Trial":
        """Return the trial with some of the tasks."""
        return replace(self, tasks=tuple(self.tasks[i] for i in chosen))

    def jacobian(
        self, order: Sequence[int] | None = None, scale: float = 1.0, seed: int = 0
    ) -> Tensor:
        """Return the gradients (T, K) of the tasks in an order."""
        jacobian = conflicting(scale, seed=seed, tasks=len(self.tasks))
        return jacobian if order is None else jacobian[list(order)]

    def step(
        self, weighter: Weighter, losses: TaskLosses, jacobian: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the objective and its gradient by the losses (T,); twice the direction (K,)."""
        if isinstance(weighter, GradientWeighter):
            direction = weighter(losses, self.jacobian() if jacobian is None else jacobian)
            return direction, direction
        objective = weighter(losses)
        objective.backward()
        gradient = losses.values.grad
        return objective.detach(), torch.zeros_like(losses.values) if gradient is None else gradient

    def live(
        self,
        weighter: Weighter,
        steps: int = 2,
        order: Sequence[int] | None = None,
        epochs: int = len(SCORES),
    ) -> Weighter:
        """Let a weighter live through the first epochs of a run, its parameters learning."""
        order = list(order or range(len(self.tasks)))
        learned = list(weighter.parameters())
        optimizer = torch.optim.SGD(learned, lr=0.1) if learned else None
        chance = torch.Generator().manual_seed(3)
        for epoch, scores in enumerate(SCORES[:epochs]):
            for step in range(steps):
                losses = [value / (step + 1) for value in self.values(FALLING, order)]
                logits = torch.randn(IMAGES, len(order), generator=chance)[:, order]
                labels = (torch.rand(IMAGES, len(order), generator=chance) < 0.5).float()[:, order]
                weighter.observe(logits, labels, torch.ones_like(labels, dtype=torch.bool))
                if optimizer:
                    optimizer.zero_grad()
                jacobian = self.jacobian(order, seed=10 * epoch + step)
                self.step(weighter, losses_of(losses), jacobian)
                if optimizer:
                    optimizer.step()
                lower = [0.9 * value for value in losses]
                weighter.after_step(lambda lower=lower: losses_of(lower))  # type: ignore[misc]
            values = self.values(scores, order)
            weighter.end_epoch(performance_of(values, [1 - value for value in values]))
        return weighter

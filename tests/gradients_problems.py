"""Small problems: task gradients by name, and what the properties of all methods are tried on."""

import torch

from deepchest_cli.weighting import WEIGHTERS, Context, TaskLosses, build_weighter
from deepchest_cli.weighting.composite import UNFIT

TASKS = ("a", "b", "c", "d")
GRADIENT = [name for name, info in WEIGHTERS.items() if info.kind == "gradient"]
NAMES = [*GRADIENT, *(f"deepchest+{name}" for name in GRADIENT if name not in UNFIT)]
LOSSES = [0.3, 1.0, 0.2, 0.5]


def build(name, tasks=TASKS, seed=0, **options):
    given = {key: str(value) for key, value in options.items()}
    return build_weighter(name, tasks, given, Context(seed))


def losses_of(values, known=None):
    values = torch.tensor(values, dtype=torch.float32)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def rows(*lists, dtype=torch.float32):
    return torch.tensor(lists, dtype=dtype)


def conflicting(scale=1.0, numbers=60, seed=0):
    """Return gradients (T, K) of very different lengths, some against each other."""
    chance = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(len(TASKS), numbers, generator=chance)
    jacobian[1] -= 0.8 * jacobian[0]
    lengths = torch.tensor([1.0, 0.5, 0.02, 3.0])[:, None]
    return scale * lengths * jacobian


def direction_of(name, jacobian, known=None, **options):
    """Return a new weighter's first direction for gradients (T, K), as a list."""
    tasks = [str(number) for number in range(len(jacobian))]
    weighter = build(name, tasks, **options)
    losses = losses_of([0.5] * len(tasks), known)
    return weighter(losses, jacobian).tolist()

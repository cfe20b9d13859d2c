"""Small problems: task gradients by name, and what the properties of all methods are tried on."""

import torch

from deepchest_cli.weighting import WEIGHTERS, Context, build_weighter
from deepchest_cli.weighting.catalog import INCOMPATIBLE
from deepchest_cli.weighting.trial import PLAIN, TASKS, conflicting, losses_of

__all__ = ("conflicting", "losses_of")  # for the tests, beside what is defined here

SPREADS = (1.0, 1e2, 1e3, 1e6)  # of the norms, the longest over the shortest
KINDS = ("independent", "alike", "opposed", "dependent")
GRADIENT = [name for name, info in WEIGHTERS.items() if info.kind == "gradient"]
NAMES = [*GRADIENT, *(f"deepchest+{name}" for name in GRADIENT if name not in INCOMPATIBLE)]
LOSSES = list(PLAIN)
# how often a step waits for a device: once for the products of the gradients, which a solver on the
# CPU gets, or for whether they are finite, before which nothing is drawn; never where all that is
# computed is computed on the device
WAITS = {
    **dict.fromkeys(("upgrad", "dualproj", "mgda", "cagrad", "pcgrad", "gradvac"), 1),
    **dict.fromkeys(("nash-mtl", "fairgrad", "imtl-g", "aligned-mtl", "config"), 1),
    "graddrop": 1,
    "excess-mtl": 0,
    "gradnorm": 0,
}


def build(name, tasks=TASKS, seed=0, **options):
    given = {key: str(value) for key, value in options.items()}
    return build_weighter(name, tasks, given, Context(seed))


def rows(*lists, dtype=torch.float32):
    return torch.tensor(lists, dtype=dtype)


def waits_of(name):
    """Return how often a step of a weighter waits for a device, by itself."""
    return WAITS[name.removeprefix("deepchest+")]


def direction_of(name, jacobian, known=None, **options):
    """Return a new weighter's first direction for gradients (T, K), as a list."""
    tasks = [str(number) for number in range(len(jacobian))]
    weighter = build(name, tasks, **options)
    losses = losses_of([0.5] * len(tasks), known)
    return weighter(losses, jacobian).tolist()


def drawn(tasks, spread, kind, seed, numbers=200):
    """Return gradients (T, K) in single precision, the longest `spread` times the shortest.

    kind: independent; alike, all near one vector; opposed, near it or its opposite; dependent, of
    half the rank, with one gradient twice, one beside its opposite, and one of zeros.
    """
    chance = torch.Generator().manual_seed(seed)
    shared, *rows = torch.randn(tasks + 1, numbers, generator=chance, dtype=torch.float64)
    rows = torch.stack(rows)
    if kind == "alike":
        rows = shared + 0.1 * rows
    elif kind == "opposed":
        signs = torch.randint(2, (tasks, 1), generator=chance) * 2 - 1
        rows = signs * shared + 0.1 * rows
    elif kind == "dependent":
        rank = max(tasks // 2, 1)
        rows = torch.randn(tasks, rank, generator=chance, dtype=torch.float64) @ rows[:rank]
        rows[-1] = rows[0]
        if tasks > 4:
            rows[1], rows[2] = 0, -rows[3]
    exponents = torch.rand(tasks, 1, generator=chance, dtype=torch.float64)
    exponents[0], exponents[-1] = 0, 1
    lengths = spread ** -exponents[torch.randperm(tasks, generator=chance)]
    units = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-30)
    return (lengths * units).float()

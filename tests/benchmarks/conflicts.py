"""How often each method's direction raises a task's loss, and what a step takes.

Gradients are drawn in single precision, K = 200 numbers each, for 2, 5, 14 and 56 tasks, with norms
spread up to a millionfold (`drawn` in tests/gradients_problems.py tells the four kinds). A draw
conflicts where the direction has a cosine below -1e-6 with some task's gradient. The time is that
of a step, the products of the gradients and their weighted sum included.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from interleaved import conditions

sys.path.insert(0, str(Path(__file__).parents[1]))
from gradients_problems import GRADIENT, KINDS, SPREADS, build, drawn, losses_of

STATEFUL = ("gradnorm", "excess-mtl")  # directions of these follow from the steps before
CONFLICT = -1e-6
TIMED = (14, 56)


def step(name: str, jacobian: torch.Tensor, seed: int) -> tuple[torch.Tensor, float]:
    """Return a new weighter's direction (K,), and the seconds that it took."""
    tasks = [str(number) for number in range(len(jacobian))]
    weighter, losses = build(name, tasks, seed), losses_of([0.5] * len(tasks))
    start = time.perf_counter()
    direction = weighter(losses, jacobian)
    return direction, time.perf_counter() - start


def conflicts(jacobian: torch.Tensor, direction: torch.Tensor) -> bool:
    rows, along = jacobian.double(), direction.double()
    rows = rows[rows.norm(dim=1) > 1e-6 * rows.norm(dim=1).max()]
    cosines = rows @ along / rows.norm(dim=1) / along.norm().clamp(min=1e-300)
    return bool(cosines.min() < CONFLICT)


def row_of(name: str, kind: str, draws: int) -> str:
    """Return a method's row of the table for gradients of a kind."""
    shares, seconds = [], {tasks: [] for tasks in TIMED}
    for spread in SPREADS:
        found = []
        for tasks in (2, 5, 14, 56):
            for seed in range(draws):
                jacobian = drawn(tasks, spread, kind, 1000 * tasks + seed)
                direction, taken = step(name, jacobian, seed)
                found.append(conflicts(jacobian, direction))
                seconds.get(tasks, []).append(taken)
        shares.append(f"{statistics.mean(found):.0%}")
    times = [f"{1000 * statistics.median(seconds[tasks]):.1f} ms" for tasks in TIMED]
    return f"| `{name}` | {kind} | {' | '.join((*shares, *times))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=25, help="for each number of tasks [25]")
    parser.add_argument("--only", help="methods, with commas between them [all]")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else GRADIENT
    torch.set_num_threads(1)
    conditions(draws=options.draws)
    spreads = " | ".join(f"norms 1 to {spread:g}" for spread in SPREADS)
    print(f"| method | gradients | {spreads} | 14 tasks | 56 tasks |")
    print("|---|---|" + "---|" * (len(SPREADS) + len(TIMED)))
    for name in names:
        for kind in KINDS if name not in STATEFUL else ():
            print(row_of(name, kind, options.draws), flush=True)


if __name__ == "__main__":
    main()

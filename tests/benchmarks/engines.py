"""What an engine costs: the same tasks in this process, in a process of its own, and by Dask.

Each of the twelve tasks trains a small network for some seconds on one thread. The engines take
turns, and the start of processes and of the cluster, with their imports, is not counted.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from interleaved import compare, conditions

from deepchest_cli.engines.base import Engine
from deepchest_cli.engines.child import keep_freed_memory
from deepchest_cli.engines.dask_cluster import DaskCluster
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.local import DevicePool, InProcess
from deepchest_cli.engines.session import open_session
from deepchest_cli.engines.task import Report, Task


def train(steps: int, device: str | None, report: Report) -> float:
    """Train a small network on noise; return its loss."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(), torch.nn.Linear(256, 14),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters())
    images, labels = torch.randn(32, 1, 64, 64), torch.randint(0, 2, (32, 14)).float()
    for step in range(steps):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        report((step + 1) / steps)
    return loss.item()


def rate(engine: Engine, tasks: int, steps: int) -> float:
    """Return tasks per minute, and see that all have ended well."""
    todo = [Task(f"{n}", f"task {n}", train, steps) for n in range(tasks)]
    start = time.perf_counter()
    ended = list(drive(todo, engine, lambda _: None, print))
    seconds = time.perf_counter() - start
    assert len(ended) == tasks
    assert all(isinstance(loss, float) for _, loss in ended), ended
    return 60 * tasks / seconds


@contextmanager
def engines(folder: Path) -> Iterator[dict[str, Engine]]:
    """Open each engine with one task at a time."""
    with ExitStack() as opened:
        sessions = [opened.enter_context(open_session(folder / name)) for name in ("pool", "dask")]
        cluster = DaskCluster("local:1", sessions[1], [], print, print)
        yield {
            "this process": opened.enter_context(InProcess("cpu")),
            "--devices cpu": opened.enter_context(DevicePool(["cpu"], sessions[0])),
            "--dask local:1": opened.enter_context(cluster),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200, help="of each task")
    parser.add_argument("--rounds", type=int, default=3)
    given: Any = parser.parse_args()
    keep_freed_memory()  # as the processes of engines do, or these would be the faster ones
    torch.set_num_threads(1)
    conditions(tasks=given.tasks, steps=given.steps)
    with tempfile.TemporaryDirectory() as folder, engines(Path(folder)) as opened:
        measures: dict[str, Callable[[], float]] = {
            name: lambda one=one: rate(one, given.tasks, given.steps)  # type: ignore[misc]
            for name, one in opened.items()
        }
        compare(measures, given.rounds, "tasks/min")


if __name__ == "__main__":
    main()

"""How fast random batches come from shards that are in memory, on a cold disk, on slow storage.

Reading as training does it, which prefetches whole batches where it has had to wait for pages, is
compared with reading that never does. "Slow storage" is a FUSE file system of
`slow_storage.py`, which needs Linux and the superuser. Below `--folder` as many bytes are written
for each size as `--gigabytes` says, and removed in the end.
"""

import argparse
import itertools
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from interleaved import conditions, in_turn, spread
from material import random_shards
from numpy.typing import NDArray
from slow_storage import slow_folder

from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.data.sampling import uniform
from deepchest_cli.data.shard_images import ImageCopies, Shard

BATCH, CPU = 32, torch.device("cpu")
STATES = ("in memory", "cold disk", "slow storage")


class WithoutPrefetch(ImageCopies):
    """Reads only what page faults read, as before."""

    def _prefetch(self, shards: list[Shard], places: list[int]) -> None:
        """Do nothing."""


class Bench:
    """Rates of reading a folder in one state; what a round found beside is kept by name."""

    def __init__(self, folder: Path, state: str, count: int, step: float) -> None:
        self.folder, self.state, self.count, self.step = folder, state, count, step
        self.epochs = itertools.count()
        self.read: dict[str, float] = {}  # from the disk, over the bytes of the images

    @property
    def on_disk(self) -> bool:
        """Whether the system counts what is read."""
        return self.state == STATES[1]

    def candidates(self) -> dict[str, Callable[[], float]]:
        """Return what is compared: a thread alone, and a batch ahead of steps of some time."""
        both = {"prefetched": ImageCopies, "not prefetched": WithoutPrefetch}
        steps = f", ahead of steps of {self.step * 1000:.0f} ms"
        return {
            name + more: lambda n=name + more, k=kind, a=bool(more): self.rate(n, k, a)  # type: ignore[misc]
            for more in ("", steps)
            for name, kind in both.items()
        }

    def rate(self, name: str, kind: type[ImageCopies], ahead: bool) -> float:
        """Return images a second of some random batches."""
        dataset = open_dataset(self.folder)
        vars(dataset)["_copies"] = kind(dataset.shards)
        order = uniform(dataset.rows("all")).order(0, next(self.epochs))[: self.count * BATCH]
        self.prepare(dataset, order)
        coming: Iterator[object] = batches(ImageReader(dataset, CPU), order, BATCH)
        before, started = from_disk(), time.perf_counter()
        for _ in prefetch(coming) if ahead else coming:
            if ahead:
                time.sleep(self.step)
        seconds = time.perf_counter() - started
        self.read[name] = (from_disk() - before) / (len(order) * dataset.size**2)
        return len(order) / seconds

    def prepare(self, dataset: RadiographDataset, order: NDArray[np.int64]) -> None:
        """Bring the files into memory and read `order` once, or take them out of it."""
        for shard in dataset.shards:
            if self.state == STATES[0]:
                shard.path.read_bytes()
            else:
                with shard.path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if self.state == STATES[0]:  # mapped pages are known to the process from the second time
            for _ in batches(ImageReader(dataset, CPU), order, BATCH):
                pass


def from_disk() -> int:
    """Return the bytes that this process has had the disk read."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock * 512


def measure(bench: Bench, rounds: int, warm: dict[str, float]) -> None:
    """Print the rates of a state, over those of the first state and over mapped files."""
    found = in_turn(bench.candidates(), rounds)
    for name, rates in found.items():
        middle = float(np.median(rates))
        print(f"  {bench.state}, {name}: {spread(rates, ',.0f')} images/s")
        details = [f"{middle / warm.setdefault(name, middle):.2f} of the rate in memory"]
        if bench.on_disk:
            details.append(f"the disk read {bench.read[name]:.1f} times the images' bytes")
        if not name.startswith("not "):
            other = found[f"not {name}"]
            ratios = [one / two for one, two in zip(rates, other, strict=True)]
            details.append(f"{spread(ratios, '.2f')} times the rate without asking")
        print(f"    {'; '.join(details)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="64,224,512")
    parser.add_argument("--gigabytes", type=float, default=1, help="of each size")
    parser.add_argument("--batches", type=int, default=40, help=f"of {BATCH} images, in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--step", type=float, default=10, help="milliseconds of a training step")
    parser.add_argument("--latency", type=float, default=1, help="milliseconds, of slow storage")
    parser.add_argument("--bandwidth", type=float, default=500, help="MB/s, of slow storage")
    parser.add_argument("--folder", type=Path, help="on the disk that is measured")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing stays mounted
    conditions(
        pixels="random", batch=BATCH, batches=given.batches, gigabytes=given.gigabytes,
        slow_storage=f"{given.latency} ms, {given.bandwidth} MB/s",
    )  # fmt: skip
    for size in map(int, given.sizes.split(",")):
        with ExitStack() as stack:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.folder)))
            folder, count = parent / "shards", int(given.gigabytes * 1e9 / size**2)
            random_shards(folder, count, size, 0)
            os.sync()  # what is not yet written stays in memory
            print(f"{count:,} images of {size} px")
            warm: dict[str, float] = {}
            number = min(given.batches, count // BATCH)
            bench = Bench(folder, STATES[0], number, given.step / 1000)
            for state in STATES[:2]:
                bench.state = state
                measure(bench, given.rounds, warm)
            try:
                place = stack.enter_context(
                    slow_folder(folder, parent / "slow", given.latency / 1e3, given.bandwidth * 1e6)
                )
            except OSError as error:
                print(f"  {STATES[2]}: {error}")
                continue
            measure(Bench(place, STATES[2], number, given.step / 1000), given.rounds, warm)


if __name__ == "__main__":
    main()

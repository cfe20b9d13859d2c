"""From a plan to published data sets of shards, in threads, continued where it ended.

Pillow, zlib and HDF5 release the interpreter lock while they work, so threads use all cores as
processes would, without copies between them.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.images import REFUSED, Stream, twice
from deepchest_cli.data.preparation.decoding import Decoded, Payload, decode_payload
from deepchest_cli.data.preparation.estimate import METADATA_BYTES, existing, images_done
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.folder import enter, save_progress
from deepchest_cli.data.preparation.planning import Plan, Say
from deepchest_cli.data.preparation.publishing import Preparation, publish
from deepchest_cli.data.preparation.resuming import keep_shards, settle_archives
from deepchest_cli.data.shards import MANIFEST, PROGRESS
from deepchest_cli.data.text import count_of, few, size_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import locked

Progress = Callable[[int, int], None]
PREFETCH = 8  # images for each worker that are read and not yet taken up


def supply(plan: Plan, wanted: NDArray[np.bool_], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows (N,) with what to decode; for a row that has nothing, the plan says why."""
    waiting = set()
    for row in np.flatnonzero(wanted).tolist():
        place = plan.place(row)
        if place is None:
            waiting.add(row)
        else:
            yield row, place
    if waiting:
        yield from _Streaming(plan, waiting, say).run()


class _Streaming:
    """Reads archives, each opened once, in the order of their names."""

    def __init__(self, plan: Plan, waiting: set[int], say: Say) -> None:
        self.plan, self.waiting, self.say = plan, waiting, say
        self.row_of = {source: row for row, source in enumerate(plan.source_rows.tolist())}
        self.seen: dict[int, str] = {}  # row of the source to the archive that has it
        self.refused: set[int] = set()
        self.surplus: list[str] = []
        self.damaged: list[str] = []

    def run(self) -> Iterator[tuple[int, Payload]]:
        """Yield the rows that wait with the bytes that archives have of them."""
        for stream in self.plan.images.streams:
            try:
                yield from self._read(stream)
            except UsageError:
                raise
            except DeepChestError as error:
                self.damaged.append(self.plan.images.name_of(stream))
                self.say(error.message)
        if self.surplus:
            number = count_of(len(self.surplus), "image has", "images have")
            self.say(f"{number} no row in the table: {few(self.surplus)}.")
        self.plan.streamed.damaged = self.damaged
        for row in self.waiting:
            self._give_up(row)

    def _read(self, stream: Stream) -> Iterator[tuple[int, Payload]]:
        title, repeated = self.plan.images.name_of(stream), None
        for name, payload, accepted in stream.walk(self._is_wanted):
            found = self.plan.images.matcher.find(name)
            if found is None:
                self.surplus.append(name)
                continue
            source, _ = found
            if not accepted:
                self.refused.add(source)
            elif source in self.seen:
                repeated = repeated or twice(name, self.seen[source], title)
            else:
                self.seen[source] = title
                if payload is not None:
                    row = self.row_of[source]
                    self.waiting.discard(row)
                    yield row, payload
        if repeated is not None:  # and the archive is whole: damaged ones may repeat anything
            raise repeated

    def _is_wanted(self, name: str) -> bool:
        found = self.plan.images.matcher.find(name)
        return found is not None and self.row_of.get(found[0]) in self.waiting

    def _give_up(self, row: int) -> None:
        """Say why no archive has the image of a row, where it is not merely missing."""
        if int(self.plan.source_rows[row]) in self.refused:
            self.plan.streamed.reasons[row] = REFUSED
        elif self.damaged:
            self.plan.streamed.reasons[row] = f"not found, and {', '.join(self.damaged)} is damaged"


def run_preparation(
    plan: Plan, config: PrepareConfig, data: Path, progress: Progress, say: Say = lambda text: None
) -> tuple[Preparation, ...]:
    """Convert what is not yet there and publish a data set for each size, read in one pass.

    `say` is told what was noticed on the way. Raises, and publishes nothing, if images are missing
    or unreadable and that is not allowed, or if images of two splits have the same pixels.
    """
    with ExitStack() as stack:
        _refuse_mixture(plan, data)
        _refuse_full_disk(plan, config, data)
        fillings, published = [], []
        for size in plan.sizes:
            folder = plan.folder(data, size)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            filling, manifest = _begin(plan, config, folder, size)
            stack.enter_context(filling.scratch.file)
            fillings.append(filling)
            published.append(manifest)
        _convert(plan, fillings, config.workers, progress, say)
        for filling in fillings:
            filling.conclude()
        pairs = zip(fillings, published, strict=True)
        return tuple(publish(plan, config, filling, there, say) for filling, there in pairs)


def _begin(
    plan: Plan, config: PrepareConfig, folder: Path, size: int
) -> tuple[Filling, dict[str, Any] | None]:
    """Return the shards to fill, and the manifest that is there."""
    identity = plan.identity(size)
    recorded = enter(folder, identity, config.force)
    published = recorded if (folder / MANIFEST).is_file() else None
    settle_archives(plan, folder, published)
    kept = keep_shards(folder, plan, recorded, plan.rows_per_shard(size))
    filling = Filling(plan, size, folder, kept)
    if filling.pending.any() or published is None:
        (folder / MANIFEST).unlink(missing_ok=True)
        save_progress(folder, identity, filling.done)
    return filling, published


def _refuse_mixture(plan: Plan, data: Path) -> None:
    """A folder is a data set or holds some, not both."""
    if len(plan.sizes) > 1 and ((data / MANIFEST).is_file() or (data / PROGRESS).is_file()):
        raise UsageError(
            f"{data} is a data set itself; those of several sizes go into folders below.",
            "Choose another folder with --data.",
        )


def _refuse_full_disk(plan: Plan, config: PrepareConfig, data: Path) -> None:
    """Say so before hours of work, and before anything is replaced."""
    needed, candidates = 0, int(plan.candidates().sum())
    for size in plan.sizes:
        folder = plan.folder(data, size)
        left = max(candidates - images_done(folder, plan, size), 0)
        scratch = min(left, 2 * plan.rows_per_shard(size))
        needed += left * (size**2 + METADATA_BYTES) + scratch * size**2
        if config.force:  # what will be replaced makes room
            needed -= sum(path.stat().st_size for path in folder.glob("shard-*.h5"))
    free = shutil.disk_usage(existing(data)).free
    if needed > free:
        raise UsageError(
            f"The shards take {size_of(needed)}, and {data} has {size_of(free)} left.",
            "Make room, choose a smaller --size, or another place with --data.",
        )


def _convert(
    plan: Plan, fillings: list[Filling], workers: int | None, progress: Progress, say: Say
) -> None:
    wanted = np.logical_or.reduce([filling.pending for filling in fillings])
    if not wanted.any():
        return
    total = int(np.logical_or.reduce([filling.candidates for filling in fillings]).sum())
    done = total - int(wanted.sum())
    count = workers or os.cpu_count() or 1
    pending: deque[tuple[int, Future[Decoded]]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for row, payload in supply(plan, wanted, say):
                future = pool.submit(decode_payload, payload, plan.sizes, plan.pad)
                pending.append((row, future))
                while len(pending) > PREFETCH * count or (pending and pending[0][1].done()):
                    done = _settle(pending, fillings, done)
                    progress(done, total)
            while pending:
                done = _settle(pending, fillings, done)
                progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _settle(pending: deque[tuple[int, Future[Decoded]]], fillings: list[Filling], done: int) -> int:
    row, future = pending.popleft()
    decoded = future.result()
    for filling in fillings:
        filling.add(row, decoded)
    return done + 1

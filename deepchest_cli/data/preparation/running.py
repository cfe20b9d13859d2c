"""From a plan to published data sets of shards, in threads, continued where it ended.

Pillow, zlib and HDF5 release the interpreter lock while they work, so threads use all cores as
processes would, without copies between them.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.decoding import Decoded, available_cores, decode_payload
from deepchest_cli.data.preparation.estimate import images_done, refuse_little_space, shard_bytes
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.folder import enter, save_progress
from deepchest_cli.data.preparation.job_plan import find_plan, remaining_jobs, settle_by_plan
from deepchest_cli.data.preparation.planning import Plan, Say
from deepchest_cli.data.preparation.publishing import Preparation, publish
from deepchest_cli.data.preparation.resuming import keep_shards, settle_archives
from deepchest_cli.data.preparation.supplying import Progress, supply
from deepchest_cli.data.shards import MANIFEST, PLAN, PROGRESS
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.files import locked

PREFETCH = 8  # images for each worker that are read and not yet taken up


def run_preparation(
    plan: Plan, config: PrepareConfig, data: Path, progress: Progress, say: Say = lambda text: None
) -> tuple[Preparation, ...]:
    """Convert what is not yet there and publish a data set for each size, read in one pass.

    `say` is told what was noticed on the way. Raises, and publishes nothing, if images are missing
    or unreadable and that is not allowed, or if images of two splits have the same pixels.
    """
    with ExitStack() as stack:
        refuse_mixture(plan, data)
        refuse_full_disk(plan, config, data, int(plan.candidates().sum()), with_scratch=True)
        fillings, published = [], []
        for size in plan.sizes:
            folder = plan.folder(data, size)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            filling, manifest = _begin(plan, config, folder, size)
            stack.enter_context(filling.scratch.file)
            fillings.append(filling)
            published.append(manifest)
        _say_remaining(plan, data, say)
        convert(plan, fillings, config.workers, progress, say)
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
    planned = None if published else find_plan(folder)
    if planned is not None and not plan.streamed.is_certain:
        settle_by_plan(plan, planned)
    kept = keep_shards(folder, plan, recorded, plan.rows_per_shard(size))
    save = partial(save_progress, folder / PROGRESS, identity)
    # beside the shards: archives in disorder may fill much of all shards before one is complete
    filling = Filling(plan, size, folder, kept, scratch=folder, save=save)
    if filling.pending.any() or published is None:
        (folder / MANIFEST).unlink(missing_ok=True)
        save(filling.done)
    return filling, published


def _say_remaining(plan: Plan, data: Path, say: Say) -> None:
    remaining = remaining_jobs(plan, data)
    if remaining:
        say(
            f"Not complete of the planned jobs: {few(remaining)}. What they lack is converted "
            "here, also where they still run."
        )


def refuse_mixture(plan: Plan, data: Path) -> None:
    """Raise `UsageError` for several sizes in a data set: a folder is one or holds some."""
    is_one = any((data / name).is_file() for name in (MANIFEST, PROGRESS, PLAN))
    if len(plan.sizes) > 1 and is_one:
        raise UsageError(
            f"{data} is a data set itself; those of several sizes go into folders below.",
            "Choose another folder with --data.",
        )


def refuse_full_disk(
    plan: Plan, config: PrepareConfig, data: Path, images: int, with_scratch: bool
) -> None:
    """Say so before hours of work, and before anything is replaced."""
    needed = 0
    for size in plan.sizes:
        folder = plan.folder(data, size)
        left = max(images - images_done(folder, plan, size), 0)
        needed += shard_bytes(size, left)
        needed += scratch_bytes(plan, size, left) if with_scratch else 0
        if config.force:  # what will be replaced makes room
            needed -= sum(path.stat().st_size for path in folder.glob("shard-*.h5"))
    hint = "Make room, choose a smaller --size, or another place with --data."
    refuse_little_space("The shards", needed, data, hint)


def scratch_bytes(plan: Plan, size: int, images: int) -> int:
    """Return what the scratch file of some images takes that come nearly in order."""
    return min(images, 2 * plan.rows_per_shard(size)) * size**2


def convert(
    plan: Plan, fillings: list[Filling], workers: int | None, progress: Progress, say: Say
) -> None:
    """Decode, in threads, what the shards of all sizes wait for."""
    wanted = _any_of(filling.pending for filling in fillings)
    if not wanted.any():
        return
    total = int(_any_of(filling.candidates for filling in fillings).sum())
    done = total - int(wanted.sum())
    count = workers or available_cores()
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


def _any_of(rows: Iterable[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce(list(rows)), dtype=bool)


def _settle(pending: deque[tuple[int, Future[Decoded]]], fillings: list[Filling], done: int) -> int:
    row, future = pending.popleft()
    decoded = future.result()
    for filling in fillings:
        filling.add(row, decoded)
    return done + 1

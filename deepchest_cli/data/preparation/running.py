"""From a plan to published data sets of shards, in threads, continued where it ended.

Pillow, zlib and HDF5 let go of the interpreter while they work, so threads share the cores as well
as processes would, without copies between them.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.images import twice
from deepchest_cli.data.preparation.contact_sheet import draw_contact_sheet
from deepchest_cli.data.preparation.decoding import Decoded, Payload, decode_payload
from deepchest_cli.data.preparation.duplicates import find_duplicates, refuse_leaks
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.shard_folder import (
    SHEET,
    build_manifest,
    enter,
    save_progress,
    trusted,
)
from deepchest_cli.data.shards import MANIFEST, PROGRESS
from deepchest_cli.data.text import SHOWN, few, size_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import held, write_json

Progress = Callable[[int, int], None]
Say = Callable[[str], None]
AHEAD = 8  # images for each worker that are read and not yet taken up


@dataclass(frozen=True)
class Preparation:
    """A published data set and whether anything had to be done for it."""

    folder: Path
    manifest: dict[str, Any]
    unchanged: bool


def run_preparation(
    plan: Plan, config: PrepareConfig, data: Path, progress: Progress, say: Say = lambda text: None
) -> tuple[Preparation, ...]:
    """Convert what is not yet there and publish a data set for each size, read in one pass.

    `say` is told what was noticed on the way. Raises, and publishes nothing, if images are missing
    or unreadable and that is not allowed, or if images of two parts have the same pixels.
    """
    with ExitStack() as stack:
        works = []
        for size in plan.sizes:
            folder = plan.folder(data, size)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder))
            works.append(_begin(plan, config, folder, size))
            stack.callback(works[-1].filling.close)
        _refuse_full_disk(plan, works)
        _convert(plan, [work.filling for work in works], config.workers, progress, say)
        return tuple(_publish(plan, config, work, say) for work in works)


@dataclass(frozen=True)
class _Work:
    filling: Filling
    published: dict[str, Any] | None  # the manifest that is there


def _begin(plan: Plan, config: PrepareConfig, folder: Path, size: int) -> _Work:
    identity = plan.identity(size)
    recorded = enter(folder, identity, config.force)
    published = recorded if (folder / MANIFEST).is_file() else None
    filling = Filling(plan, size, folder, trusted(folder, plan, recorded, published is not None))
    if filling.left or published is None:
        (folder / MANIFEST).unlink(missing_ok=True)
        save_progress(folder, identity, filling.done)
    return _Work(filling, published)


def _refuse_full_disk(plan: Plan, works: list[_Work]) -> None:
    """Say so before hours of work, not after."""
    needed = 0
    for work in works:
        filling = work.filling
        needed += (len(filling.left) + 2) * filling.rows * filling.size**2 if filling.left else 0
    folder = works[0].filling.folder
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UsageError(
            f"The shards take {size_of(needed)}, and {folder} has {size_of(free)} left.",
            "Make room, choose a smaller --size, or another place with --data.",
        )


def _convert(
    plan: Plan, fillings: list[Filling], workers: int | None, progress: Progress, say: Say
) -> None:
    """Decode every row that a shard waits for, at all sizes at once."""
    total = len(plan.table)
    wanted = {row for row in range(total) if any(filling.wants(row) for filling in fillings)}
    if not wanted:
        return
    done = total - len(wanted)
    count = workers or os.cpu_count() or 1
    pending: deque[tuple[int, Future[Decoded]]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for row, payload in _supply(plan, wanted, say):
                future = pool.submit(decode_payload, payload, plan.sizes, plan.pad)
                pending.append((row, future))
                while len(pending) > AHEAD * count or (pending and pending[0][1].done()):
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


def _supply(plan: Plan, wanted: set[int], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield wanted rows with what to decode: places by rows, then archives as they come."""
    places, streams = plan.images.places, plan.images.streams
    waiting: dict[str, int] = {}
    for row in sorted(wanted):
        place = places.get(plan.keys[row])
        if place is None and streams:
            waiting[plan.keys[row]] = row
        else:
            yield row, place
    if waiting:
        yield from _streamed(plan, waiting, say)
        yield from ((row, None) for row in waiting.values())


def _streamed(plan: Plan, waiting: dict[str, int], say: Say) -> Iterator[tuple[int, Payload]]:
    """Yield what archives hold of the rows that wait, each archive opened once, in order."""
    keys, rows = plan.images.keys, set(plan.keys)
    seen: dict[str, str] = {}
    surplus: list[str] = []
    refused = 0
    for stream in plan.images.streams:
        try:
            for name, payload, accepted in stream.walk(lambda name: keys(name) in waiting):
                key = keys(name)
                if not accepted:
                    refused += 1
                elif key in seen:
                    raise twice(name, seen[key], stream.title)
                else:
                    seen[key] = stream.title
                    if payload is not None:
                        yield waiting.pop(key), payload
                    elif key not in rows:
                        surplus.append(name)
        except UsageError:
            raise
        except DeepChestError as error:
            say(f"{error.message} What came before was whole.")
    if surplus:
        say(f"{len(surplus):,} images of archives have no row in the table: {few(surplus)}.")
    if refused:
        say(f"{refused} members of archives are no plain files, or lead outside; not used.")


def _publish(plan: Plan, config: PrepareConfig, work: _Work, say: Say) -> Preparation:
    filling, folder = work.filling, work.filling.folder
    duplicates = find_duplicates(folder, filling.done)
    manifest = build_manifest(plan, filling.size, filling.done, duplicates)
    if not manifest["counts"]["all"]["images"]:
        raise DeepChestError(
            "None of the images could be found and read; nothing is published.",
            "Check --source: the image files lie in it, in folders below, or in archives.",
        )
    try:
        if manifest["left_out"] and not config.allow_missing:
            raise _left_out_error(manifest["left_out"])
        if not config.allow_duplicates:
            refuse_leaks(duplicates)
    except DeepChestError:
        save_progress(folder, plan.identity(filling.size), filling.done)
        (folder / MANIFEST).unlink(missing_ok=True)
        raise
    if manifest != work.published or not (folder / SHEET).is_file():
        draw_contact_sheet(folder, manifest, folder / SHEET)
    if manifest != work.published or not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, manifest)
    (folder / PROGRESS).unlink(missing_ok=True)
    _say_remarks(manifest, say)
    return Preparation(folder, manifest, unchanged=manifest == work.published)


def _say_remarks(manifest: dict[str, Any], say: Say) -> None:
    dull = [name for shard in manifest["shards"] for name in shard["near_constant"]]
    if dull:
        say(f"{len(dull)} images have almost one grey value; look at them: {few(dull)}.")
    groups = manifest["duplicates"]
    if groups:
        listed = few(" = ".join(group["images"]) for group in groups)
        say(f"Images with the same pixels: {listed}.")


def _left_out_error(left_out: list[dict[str, str]]) -> DeepChestError:
    listed = "\n".join(f"  {lost['image']}: {lost['reason']}" for lost in left_out[:SHOWN])
    more = f"\n  and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    return DeepChestError(
        f"{len(left_out)} images are missing or unreadable; nothing is published:\n{listed}{more}",
        "Restore them and run the same command again (what is done is kept), "
        "or go on without them: --allow-missing",
    )

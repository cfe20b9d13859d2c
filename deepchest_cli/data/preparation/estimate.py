"""How long a preparation will take and how much room, from a sample of the source's images."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.decoding import Payload, available_cores, decode_payload
from deepchest_cli.data.preparation.folder import recorded_in
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import size_of
from deepchest_cli.errors import DeepChestError, UsageError

SAMPLE = 24  # images that are decoded to learn how long one takes
METADATA_BYTES = 300  # of an image in a shard, besides its pixels


@dataclass(frozen=True)
class Estimate:
    """What a preparation would take."""

    images: dict[str, int]  # by split
    done: int  # images in shards that are recorded as done at every size
    missing: int  # known to have no file; archives tell only when they are read
    workers: int
    seconds_per_image: float  # on one core
    seconds: float
    bytes: int
    free: int
    folders: tuple[str, ...]


def estimate(plan: Plan, config: PrepareConfig, data: Path) -> Estimate:
    """Decode a sample of the images and return what all of them would take."""
    workers = config.workers or available_cores()
    each = _seconds_per_image(plan)
    candidates = plan.candidates()
    total = int(candidates.sum())
    folders = [plan.folder(data, size) for size in plan.sizes]
    pairs = zip(folders, plan.sizes, strict=True)
    done = min(images_done(folder, plan, size) for folder, size in pairs)
    return Estimate(
        images={split: int((candidates & (plan.splits == split)).sum()) for split in SPLITS},
        done=done,
        missing=len(candidates) - total,
        workers=workers,
        seconds_per_image=each,
        seconds=max(total - done, 0) * each / workers,
        bytes=sum(shard_bytes(size, total) for size in plan.sizes),
        free=shutil.disk_usage(existing(data)).free,
        folders=tuple(map(str, folders)),
    )


def _seconds_per_image(plan: Plan) -> float:
    start, count = time.perf_counter(), 0
    for payload in _sample(plan):
        decode_payload(payload, plan.sizes, plan.pad)
        count += 1
    return (time.perf_counter() - start) / count if count else 0.0


def _sample(plan: Plan) -> Iterator[Payload]:
    """Yield images from all over the source, or the first ones of its first archive."""
    places = [place for row in range(len(plan.table)) if (place := plan.place(row)) is not None]
    if places:
        chosen = np.unique(np.linspace(0, len(places) - 1, SAMPLE).astype(int))
        yield from (places[number] for number in chosen)
        return
    for stream in plan.images.streams[:1]:
        walk = stream.walk(lambda name: plan.images.matcher.find(name) is not None)
        try:
            yield from (payload for _, payload, _ in islice(walk, SAMPLE) if payload is not None)
        except DeepChestError:
            return  # it will be said when it is read


def images_done(folder: Path, plan: Plan, size: int) -> int:
    """Return how many images stand in shards that an earlier run of the same recorded."""
    found = recorded_in(folder, plan.identity(size))
    return 0 if found is None else sum(entry["images"] for entry in found["shards"])


def shard_bytes(size: int, images: int) -> int:
    """Return what images of a size take in their shards."""
    return images * (size**2 + METADATA_BYTES)


def refuse_little_space(what: str, needed: int, place: Path, hint: str) -> None:
    """Raise `UsageError` where a disk has fewer bytes left than what is to be written there."""
    free = shutil.disk_usage(existing(place)).free
    if needed > free:
        raise UsageError(
            f"{what} take {size_of(needed)}, and {place} has {size_of(free)} left.", hint
        )


def existing(path: Path) -> Path:
    """Return the nearest folder above that is there."""
    path = path.absolute()
    return path if path.exists() else existing(path.parent)

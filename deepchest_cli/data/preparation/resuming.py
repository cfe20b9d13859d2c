"""How rows are cut into shards, and which shards of an earlier run stay."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.folder import Entries, archives_of, read_excluded
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.shards import shard_name
from deepchest_cli.files import sha256_of

Shards = dict[str, NDArray[np.int64]]  # a shard's file name to its candidate rows


def cut_shards(there: NDArray[np.bool_], most: int) -> Shards:
    """Return the rows of each shard: at most `most` of those whose images are there (N,).

    Blocks of `most` rows are the leaves of a binary tree, and a shard is the largest of its
    branches that holds no more than `most` images. So no shard is empty, shards with few images
    are put together, and an image that comes or goes changes the shard around it and no other. A
    shard has the number of the block of its first image.
    """
    blocks = -(-len(there) // most)
    starts = np.minimum(np.arange(blocks + 1) * most, len(there))
    before = np.concatenate([[0], np.cumsum(there)])[starts]
    shards: Shards = {}
    for first, last in _branches(before, 0, 1 << max(blocks - 1, 0).bit_length(), most):
        rows = np.flatnonzero(there[first * most : last * most]) + first * most
        shards[shard_name(int(rows[0]) // most)] = rows
    return shards


def full_blocks(there: NDArray[np.bool_], most: int) -> Shards:
    """Return the shards that stay as they are whichever images of other blocks are there."""
    return {name: rows for name, rows in cut_shards(there, most).items() if len(rows) == most}


def _branches(
    before: NDArray[np.int64], first: int, width: int, most: int
) -> Iterator[tuple[int, int]]:
    """Yield first and last block of each shard; before: images before each block."""
    last = min(first + width, len(before) - 1)
    images = before[last] - before[first] if first < last else 0
    if images and (images <= most or width == 1):
        yield first, last
    elif images:
        for half in (first, first + width // 2):
            yield from _branches(before, half, width // 2, most)


@dataclass(frozen=True)
class Kept:
    """How the rows are cut into shards, and which shards stay."""

    candidates: NDArray[np.bool_]  # (N,), rows with an image, or that may have one in an archive
    shards: Shards  # those that are certain before archives are read
    entries: Entries  # of the shards that stay


@dataclass(frozen=True)
class _Sound:
    entry: dict[str, Any]
    rows: NDArray[np.int64]  # of its images, and of those that could not be read


def settle_archives(plan: Plan, folder: Path, published: dict[str, Any] | None) -> None:
    """Take from a published data set what archives hold, if they are the same: nothing is read."""
    if published is None or published.get("archives") != archives_of(plan):
        return
    lost = None if published.get("damaged_archives") else read_excluded(folder, published)
    if lost is None:
        return
    unreadable = {loss["image"] for entry in published["shards"] for loss in entry["excluded"]}
    names = plan.table["image_index"].to_numpy()
    nowhere = {row for row in plan.streamed.rows if names[row] in lost.keys() - unreadable}
    plan.streamed.rows -= nowhere
    plan.streamed.reasons |= {row: lost[names[row]] for row in nowhere}
    plan.streamed.is_certain = True


def keep_shards(folder: Path, plan: Plan, recorded: dict[str, Any] | None, most: int) -> Kept:
    """Return the shards whose bytes are those that were recorded, and which are to be made.

    A shard is made again when it lacks an image that is there now, or may be, and when an image of
    it has another length than the one it was made from. Images that are gone from the source are
    not missed.
    """
    candidates = plan.candidates()
    cut = cut_shards if plan.streamed.is_certain else full_blocks
    sound = _sound_shards(folder, plan, recorded)
    while True:
        there = candidates.copy()
        for found in sound.values():
            there[found.rows] = True
        shards = cut(there, most)
        kept = {
            name: found
            for name, found in sound.items()
            if name in shards and np.array_equal(found.rows, shards[name])
        }
        if len(kept) == len(sound):
            return Kept(there, shards, {name: found.entry for name, found in kept.items()})
        sound = kept  # the others go, and with them images that are nowhere else


def keep_planned(folder: Path, plan: Plan, recorded: dict[str, Any] | None, shards: Shards) -> Kept:
    """Return the same for the shards of a job, which its plan has fixed."""
    there = np.zeros(len(plan.table), dtype=bool)
    for rows in shards.values():
        there[rows] = True
    sound = _sound_shards(folder, plan, recorded, shards)
    kept = {
        name: found.entry
        for name, found in sound.items()
        if np.array_equal(found.rows, shards[name])
    }
    return Kept(there, shards, kept)


def _sound_shards(
    folder: Path,
    plan: Plan,
    recorded: dict[str, Any] | None,
    among: Collection[str] | None = None,
) -> dict[str, _Sound]:
    if recorded is None:
        return {}
    row_of = {name: row for row, name in enumerate(plan.table["image_index"])}
    entries = [e for e in recorded["shards"] if among is None or e["file"] in among]
    files = {folder / entry["file"]: entry for entry in entries}
    found = {path.name: _sound(path, files[path], plan, row_of) for path in files if path.is_file()}
    return {name: sound for name, sound in found.items() if sound is not None}


def _sound(path: Path, entry: dict[str, Any], plan: Plan, row_of: dict[str, int]) -> _Sound | None:
    unreadable = [loss["image"] for loss in entry["excluded"]]
    if any(_may_be_there(plan, row_of.get(image)) for image in unreadable):
        return None
    if sha256_of(path) != entry["sha256"]:
        return None
    with h5py.File(path, "r") as file:
        names, lengths = file["image_index"][:].astype(str), file["file_bytes"][:]
    rows = [row_of.get(name) for name in names.tolist()]
    for row, length in zip(rows, lengths.tolist(), strict=True):
        place = None if row is None else plan.place(row)
        if row is None or (place is not None and place.length != length):
            return None
    rows += [row_of[image] for image in unreadable]
    return _Sound(entry, np.sort(np.array(rows, dtype=np.int64)))


def _may_be_there(plan: Plan, row: int | None) -> bool:
    """Whether an image that could not be read has a file now, which may be another one."""
    unread = not plan.streamed.is_certain and row in plan.streamed.rows
    return row is None or unread or plan.place(row) is not None

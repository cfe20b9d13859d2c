"""What an earlier run of the same preparation left that stays as it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.cutting import Shards, cut_shards, full_blocks
from deepchest_cli.data.preparation.decoding import MISSING
from deepchest_cli.data.preparation.excluded import read_excluded
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.shard_folder import Entries, archives_of
from deepchest_cli.files import sha256_of

OUTSIDE = 1.01  # of an image's side; what is beyond is no rounding


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


def _sound_shards(folder: Path, plan: Plan, recorded: dict[str, Any] | None) -> dict[str, _Sound]:
    if recorded is None:
        return {}
    row_of = {name: row for row, name in enumerate(plan.table["image_index"])}
    found = {
        entry["file"]: _sound(folder / entry["file"], entry, plan, row_of)
        for entry in recorded["shards"]
        if (folder / entry["file"]).is_file()
    }
    return {name: sound for name, sound in found.items() if sound is not None}


def _sound(path: Path, entry: dict[str, Any], plan: Plan, row_of: dict[str, int]) -> _Sound | None:
    """Return a shard that may stay, or nothing."""
    # version 0.1 listed missing images with each shard
    unreadable = [loss for loss in entry["excluded"] if loss["reason"] != MISSING]
    if any(_may_be_there(plan, row_of.get(loss["image"])) for loss in entry["excluded"]):
        return None
    if sha256_of(path) != entry["sha256"]:
        return None
    with h5py.File(path, "r") as file:
        names, lengths = file["image_index"][:].astype(str), file["file_bytes"][:]
        boxes, size = file["box"][:], file["images"].shape[-1]
    if len(boxes) and (boxes[:, :2] + boxes[:, 2:]).max() > size * OUTSIDE:
        return None  # version 0.1 stored boxes outside their images
    rows = [row_of.get(name) for name in names.tolist()]
    for row, length in zip(rows, lengths.tolist(), strict=True):
        place = None if row is None else plan.place(row)
        if row is None or (place is not None and place.length != length):
            return None
    rows += [row_of[loss["image"]] for loss in unreadable]
    every = np.sort(np.array(rows, dtype=np.int64))
    return _Sound({**entry, "excluded": unreadable}, every)


def _may_be_there(plan: Plan, row: int | None) -> bool:
    """Whether an image that could not be read has a file now, which may be another one."""
    unread = not plan.streamed.is_certain and row in plan.streamed.rows
    return row is None or unread or plan.place(row) is not None

"""Whether converted shards may be published, and what is said about them."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.contact_sheet import draw_contact_sheet
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.folder import (
    EXCLUDED,
    SHEET,
    Entries,
    build_manifest,
    clear_shards,
    count_splits,
    remove_progress,
    save_progress,
    summarize,
)
from deepchest_cli.data.preparation.planning import Plan, Say
from deepchest_cli.data.preparation.stored_studies import (
    COLUMNS,
    Columns,
    count_studies,
    doubtful_studies,
)
from deepchest_cli.data.shards import MANIFEST, PROGRESS
from deepchest_cli.data.text import SHOWN, count_of, few
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import write_json


def stored_columns(folder: Path, done: Entries) -> Columns:
    """Return what shards say of all their images (N,), besides the labels."""
    read: dict[str, list[NDArray[Any]]] = {name: [] for name in ("pixel_hash", *COLUMNS)}
    for name in sorted(done):
        with h5py.File(folder / name, "r") as file:
            for column, values in read.items():
                values.append(file[column][:])
    return {column: np.concatenate(values) for column, values in read.items()}


def find_duplicates(stored: Columns) -> list[dict[str, Any]]:
    """Return groups of images with equal stored pixels: names and splits, in order of names."""
    hashes, images, splits = (stored[name] for name in ("pixel_hash", "image_index", "split"))
    _, group, count = np.unique(hashes, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(count[group] > 1)  # few: the others need no words
    groups: dict[int, list[int]] = defaultdict(list)
    for row in rows[np.argsort(images[rows], kind="stable")].tolist():
        groups[int(group[row])].append(row)
    return [
        {
            "images": [images[row].decode() for row in same],
            "splits": sorted({splits[row].decode() for row in same}),
        }
        for same in groups.values()
    ]


def refuse_leaks(duplicates: list[dict[str, Any]]) -> None:
    """Raise `DeepChestError`, with their names, where equal images stand in two splits."""
    across = [group for group in duplicates if len(group["splits"]) > 1]
    if not across:
        return
    pairs = [(equal_images(group), " and ".join(group["splits"])) for group in across[:SHOWN]]
    listed = "\n".join(f"  {images}: in {splits}" for images, splits in pairs)
    more = f"\n  and {len(across) - SHOWN:,} more" if len(across) > SHOWN else ""
    raise DeepChestError(
        f"Images with the same pixels stand in two splits "
        f"({count_of(len(across), 'group')}); nothing is published:\n{listed}{more}",
        "Take all but one of each out of the table, or publish them as they are with "
        "--allow-duplicates (what is done is kept).",
    )


def equal_images(group: dict[str, Any]) -> str:
    """Return the first names of a group of equal images and how many more there are."""
    return few(group["images"], " = ")


@dataclass(frozen=True)
class Preparation:
    """A published data set and whether anything had to be done for it."""

    folder: Path
    manifest: dict[str, Any]
    unchanged: bool


def publish(
    plan: Plan, config: PrepareConfig, filling: Filling, published: dict[str, Any] | None, say: Say
) -> Preparation:
    """Write contact sheet and manifest of complete shards; `published` is the manifest there was.

    Raises `DeepChestError`, and leaves no manifest, where images are missing or leak.
    """
    folder = filling.folder
    excluded = filling.excluded()
    if not filling.done:
        raise no_images(excluded)
    stored = stored_columns(folder, filling.done)
    duplicates = find_duplicates(stored)
    try:
        _refuse_losses(plan, config, folder, excluded)
        if not config.allow_duplicates:
            refuse_leaks(duplicates)
    except DeepChestError:
        save_progress(folder / PROGRESS, plan.identity(filling.size), filling.done)
        (folder / MANIFEST).unlink(missing_ok=True)
        raise
    summary = summarize(folder, excluded)
    counts = count_splits(plan, filling.stored())
    for split, numbers in count_studies(plan.source, stored).items():
        counts[split] |= numbers
    manifest = build_manifest(plan, filling.size, filling.done, summary, counts, duplicates)
    if manifest != published or not (folder / SHEET).is_file():
        draw_contact_sheet(folder, manifest, folder / SHEET)
    if manifest != published or not (folder / MANIFEST).exists():
        clear_shards(folder, filling.done)
        write_json(folder / MANIFEST, manifest)
    remove_progress(folder)
    _say_remarks(manifest, say)
    for remark in doubtful_studies(plan.source, stored):
        say(remark)
    return Preparation(folder, manifest, unchanged=manifest == published)


def _say_remarks(manifest: dict[str, Any], say: Say) -> None:
    flat = [name for shard in manifest["shards"] for name in shard["near_constant"]]
    if flat:
        number = count_of(len(flat), "image has", "images have")
        say(f"{number} almost one gray value: {few(flat)}.")
    groups = manifest["duplicates"]
    if groups:
        listed = few(equal_images(group) for group in groups)
        say(f"{count_of(len(groups), 'group')} of images with the same pixels: {listed}.")


def _refuse_losses(
    plan: Plan, config: PrepareConfig, folder: Path, excluded: dict[str, str]
) -> None:
    if config.allow_missing:
        return
    if excluded:
        names = summarize(folder, excluded)["first"]
        first = "\n".join(f"  {name}: {excluded[name]}" for name in names)
        more = f"\n  and {len(excluded) - len(names):,} more" if len(excluded) > len(names) else ""
        number = count_of(len(excluded), "image is", "images are")
        raise DeepChestError(
            f"{number} missing or unreadable ({reasons_of(excluded)}); "
            f"nothing is published:\n{first}{more}",
            f"Restore them (all are listed in {folder / EXCLUDED}) and run the same command again "
            "(what is done is kept), or go on without them: --allow-missing",
        )
    refuse_damaged(plan)


def refuse_damaged(plan: Plan) -> None:
    """Raise `DeepChestError` where archives are damaged."""
    if plan.streamed.damaged:
        raise DeepChestError(
            f"{few(plan.streamed.damaged)}: damaged, so that nothing in it can be relied on; "
            "nothing is published.",
            "Download it again, or go on with what could be read: --allow-missing",
        )


def no_images(excluded: dict[str, str]) -> DeepChestError:
    """Return the error where none is left; excluded: image to reason."""
    return DeepChestError(
        f"None of the images could be found and read ({reasons_of(excluded)}); nothing is "
        "published.",
        "Check --source: the image files lie in it, in folders below, or in zip, tar or tar.gz "
        "archives, under the names that the table has.",
    )


def reasons_of(excluded: dict[str, str]) -> str:
    """Return the most frequent reasons with their numbers."""
    counted = Counter(excluded.values())
    return few(f"{number:,} × {reason}" for reason, number in counted.most_common())

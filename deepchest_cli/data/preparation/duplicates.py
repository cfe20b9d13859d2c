"""Images with the same pixels: harmless within a part, a leak across parts."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.preparation.shard_folder import Entries
from deepchest_cli.data.text import SHOWN, count_of, few
from deepchest_cli.errors import DeepChestError


def find_duplicates(folder: Path, done: Entries) -> list[dict[str, Any]]:
    """Return groups of images whose stored pixels are equal: names and parts, in order of names."""
    columns: list[list[NDArray[np.bytes_]]] = [[], [], []]
    for name in sorted(done):
        with h5py.File(folder / name, "r") as file:
            for column, dataset in zip(columns, ("digest", "image_index", "split"), strict=True):
                column.append(file[dataset][:])
    digests, images, parts = (np.concatenate(column) for column in columns)
    _, group, count = np.unique(digests, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(count[group] > 1)  # few: the others need no words
    groups: dict[int, list[int]] = defaultdict(list)
    for row in rows[np.argsort(images[rows], kind="stable")].tolist():
        groups[int(group[row])].append(row)
    return [
        {
            "images": [images[row].decode() for row in same],
            "parts": sorted({parts[row].decode() for row in same}),
        }
        for same in groups.values()
    ]


def refuse_leaks(duplicates: list[dict[str, Any]]) -> None:
    """Raise `DeepChestError`, with their names, where equal images stand in two parts."""
    across = [group for group in duplicates if len(group["parts"]) > 1]
    if not across:
        return
    listed = "\n".join(
        f"  {equal_images(group)}: in {' and '.join(group['parts'])}" for group in across[:SHOWN]
    )
    more = f"\n  and {len(across) - SHOWN:,} more" if len(across) > SHOWN else ""
    raise DeepChestError(
        f"Images with the same pixels stand in two parts of the split "
        f"({count_of(len(across), 'group')}); nothing is published:\n{listed}{more}",
        "Take all but one of each out of the table, or publish them as they are with "
        "--allow-duplicates (what is done is kept).",
    )


def equal_images(group: dict[str, Any]) -> str:
    """Return the first names of a group of equal images and how many more there are."""
    return few(group["images"], " = ")

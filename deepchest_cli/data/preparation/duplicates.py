"""Images with the same pixels: harmless within a part, a leak across parts."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py

from deepchest_cli.data.preparation.shard_folder import Entries
from deepchest_cli.errors import DeepChestError


def find_duplicates(folder: Path, done: Entries) -> list[dict[str, Any]]:
    """Return groups of images whose stored pixels are equal: names and parts, in order of names."""
    groups: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
    for name in sorted(done):
        with h5py.File(folder / name, "r") as file:
            columns = (file["digest"][:], file["image_index"][:], file["split"][:])
        for digest, image, part in zip(*columns, strict=True):
            groups[digest].append((image.decode(), part.decode()))
    found = [sorted(group) for group in groups.values() if len(group) > 1]
    return [
        {"images": [image for image, _ in group], "parts": sorted({part for _, part in group})}
        for group in sorted(found)
    ]


def refuse_leaks(duplicates: list[dict[str, Any]]) -> None:
    """Raise `DeepChestError`, with their names, where equal images stand in two parts."""
    across = [group for group in duplicates if len(group["parts"]) > 1]
    if not across:
        return
    listed = "\n".join(
        f"  {' = '.join(group['images'])}: in {' and '.join(group['parts'])}"
        for group in across[:20]
    )
    more = f"\n  and {len(across) - 20} more" if len(across) > 20 else ""
    raise DeepChestError(
        f"{len(across)} groups of images with the same pixels stand in two parts of the split; "
        f"nothing is published:\n{listed}{more}",
        "Take all but one of each out of the table, or publish them as they are with "
        "--allow-duplicates (what is done is kept).",
    )

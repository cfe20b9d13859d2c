"""Whether the shards of a data set are those that its manifest lists, byte for byte."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.data.dataset import open_manifest
from deepchest_cli.data.preparation.folder import EXCLUDED, SHEET, read_excluded
from deepchest_cli.data.shards import MANIFEST, read_manifest, read_shard
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.files import sha256_of


@dataclass(frozen=True)
class Checked:
    """What was found in the folder of a data set."""

    folder: str
    shards: int
    images: int
    problems: tuple[str, ...]


def check_shards(data: Path, progress: Callable[[int, int], None]) -> tuple[Checked, ...]:
    """Compare every shard with the manifest of its data set, or of each data set in the folder.

    Raises `UsageError` where there is no data set.
    """
    return tuple(_check(folder, progress) for folder in prepared_folders(data))


def prepared_folders(data: Path) -> list[Path]:
    """Return the folder itself, or those in it that hold a data set (one for each size)."""
    if (data / MANIFEST).is_file():
        return [data]
    below = [path.parent for path in data.glob(f"*/{MANIFEST}")]
    return sorted(below, key=lambda folder: (len(folder.name), folder.name)) or [data]


def _check(folder: Path, progress: Callable[[int, int], None]) -> Checked:
    manifest = read_manifest(folder)
    entries = manifest["shards"]
    problems: list[str] = []
    for number, entry in enumerate(entries, start=1):
        problems += _problems_of(folder / entry["file"], entry, manifest)
        progress(number, len(entries))
    if not problems:
        problems += _wrong_counts(folder, manifest)
    if read_excluded(folder, manifest) is None and "excluded" in manifest:
        problems.append(f"{folder / EXCLUDED} is missing or has other bytes than when written")
    listed = {entry["file"] for entry in entries} | {MANIFEST, SHEET, EXCLUDED}
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in listed)
    problems += [f"{folder / name} is not in the manifest" for name in strangers]
    images = sum(entry["images"] for entry in entries)
    return Checked(str(folder), len(entries), images, tuple(problems))


def _problems_of(path: Path, entry: dict[str, Any], manifest: dict[str, Any]) -> Iterator[str]:
    if not path.is_file():
        yield f"{path} is missing"
    elif path.stat().st_size != entry["bytes"]:
        yield f"{path} has {path.stat().st_size:,} bytes, not {entry['bytes']:,}"
    elif sha256_of(path) != entry["sha256"]:
        yield f"{path} has other bytes than when it was written"
    else:
        content = read_shard(path)
        size = manifest["settings"]["size"]
        if content.images.shape != (entry["images"], size, size):
            yield f"{path} holds images of shape {content.images.shape}"
        if list(content.findings) != manifest["findings"]:
            yield f"{path} has other findings than the manifest"


def _wrong_counts(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Compare what the manifest says of splits and findings with what the shards hold."""
    dataset = open_manifest(folder, manifest)
    for split in SPLITS:
        rows = dataset.rows(split)
        positives = (dataset.labels[rows] * dataset.known[rows]).sum(axis=0).tolist()
        by_finding = dict(zip(dataset.findings, positives, strict=True))
        for name, number in {"images": len(rows), "positives": by_finding}.items():
            if manifest["counts"][split][name] != number:
                yield f"{folder / MANIFEST} counts other {name} in {split} than the shards hold"

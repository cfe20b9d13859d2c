"""The shard format: plain HDF5, one file the unit of work, of continuation and of trust.

Images are contiguous and uncompressed so that a reader maps the file instead of decoding it.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UsageError
from deepchest_cli.files import atomic_write

FORMAT = "deepchest-shards"
FORMAT_VERSION = 3
READABLE_VERSIONS = (2, FORMAT_VERSION)  # version 0.1 of the program wrote 2
MANIFEST = "manifest.json"
# written while a preparation is under way, and never read as a data set
PROGRESS = "preparation.json"

SHARD_KEYS = {"file", "sha256", "bytes", "images", "near_constant"}  # of a shard's manifest entry

# columns of the metadata table that a shard carries, one value an image
LONGEST_NAME, LONGEST_FINDING = 128, 32  # bytes
TEXT_COLUMNS = {
    "image_index": LONGEST_NAME,
    "study": LONGEST_NAME,  # images of one examination share it; else the image's own index
    "source": 32,  # kind of the data set that the image is from
    "sex": 1,
    "view": 16,
    "split": 10,
}
NUMBER_COLUMNS: dict[str, str] = {
    "patient_id": "<i8",
    "age": "<f4",  # years, NaN: unknown
    "follow_up": "<i4",  # -1: unknown
    "original_width": "<i4",  # pixels, -1: unknown
    "original_height": "<i4",
}


@dataclass(frozen=True)
class ShardContent:
    """The arrays of one shard; N images of S pixels, T findings, B boxes."""

    images: NDArray[np.uint8]  # (N, S, S)
    labels: NDArray[np.uint8]  # (N, T), 1: present
    known: NDArray[np.uint8]  # (N, T), 0: the label says nothing
    pixel_hash: NDArray[np.bytes_]  # (N,), of the stored pixels
    file_bytes: NDArray[np.int64]  # (N,), length of the source's file; 0: it was an array
    columns: dict[str, NDArray[Any]]  # (N,) each, the names above
    box_row: NDArray[np.int32]  # (B,), row within the shard
    box_finding: NDArray[np.bytes_]  # (B,)
    box: NDArray[np.float32]  # (B, 4), x, y, width, height in stored pixels
    findings: tuple[str, ...]
    soft: NDArray[np.float32] | None = None  # (N, T), probabilities of the findings


# datasets of a shard that are not columns of the table
ARRAYS = ("images", "labels", "known", "pixel_hash", "file_bytes", "box_row", "box_finding", "box")


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"shard-{number:05d}.h5"


def rows_per_shard(size: int) -> int:
    """Return how many candidate images make a shard: 512, or fewer where they are large."""
    return max(32, min(512, 512 * 256**2 // size**2))


def write_shard(path: Path, content: ShardContent) -> None:
    """Write a shard, whole or not at all; the same content gives the same bytes."""
    memory = io.BytesIO()  # HDF5 does not survive a full disk; a plain write fails cleanly
    with h5py.File(memory, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        for name in ARRAYS:
            _write(file, name, getattr(content, name))
        if content.soft is not None:
            _write(file, "soft", content.soft.astype("<f4"))
        for name, width in TEXT_COLUMNS.items():
            _write(file, name, content.columns[name].astype(f"S{width}"))
        for name, kind in NUMBER_COLUMNS.items():
            _write(file, name, content.columns[name].astype(kind))
        _write(file, "findings", np.array(content.findings, dtype=f"S{LONGEST_FINDING}"))
    with atomic_write(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


def _write(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    # times would make two equal shards differ
    file.create_dataset(name, data=values, track_times=False)


def read_shard(path: Path, source: str = "") -> ShardContent:
    """Return a shard's arrays; the images are mapped from the file, not read.

    source: kind of the data set, for shards of format 2, which do not have it.
    """
    with h5py.File(path, "r") as file:
        columns = {name: file[name][:].astype(str) for name in TEXT_COLUMNS if name in file}
        columns |= {name: file[name][:] for name in NUMBER_COLUMNS}
        columns.setdefault("study", columns["image_index"])
        columns.setdefault("source", np.full(len(columns["image_index"]), source))
        return ShardContent(
            images=_map_images(path, file["images"]),
            pixel_hash=file["pixel_hash" if "pixel_hash" in file else "digest"][:],
            columns=columns,
            **{name: file[name][:] for name in ARRAYS if name not in ("images", "pixel_hash")},
            findings=tuple(name.decode() for name in file["findings"][:]),
            soft=file["soft"][:] if "soft" in file else None,
        )


def _map_images(path: Path, dataset: h5py.Dataset) -> NDArray[np.uint8]:
    offset = dataset.id.get_offset()
    if offset is None:  # no image of the shard could be read
        return np.empty(dataset.shape, dtype=np.uint8)
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=dataset.shape)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared data set; errors say how to make one."""
    path = folder / MANIFEST
    if not path.is_file():
        sizes = sorted(below.parent for below in folder.glob(f"*/{MANIFEST}"))
        if sizes:
            raise UsageError(
                f"{folder} holds {len(sizes)} data sets.",
                f"Name one: {' or '.join(f'--data {size}' for size in sizes)}",
            )
        begun = (folder / PROGRESS).is_file()
        lost = not folder.is_absolute() and not folder.exists()
        raise UsageError(
            f"{folder} is not a prepared data set: it has no {MANIFEST}"
            + (" (its preparation was not finished)" if begun else "")
            + (f" (the working directory is {Path.cwd()})." if lost else "."),
            f"Run: deepchest prepare --data {folder}  (add --demo for synthetic radiographs)",
        )
    manifest = load_json(path)
    version = manifest.get("format_version")
    if manifest.get("format") != FORMAT or version not in READABLE_VERSIONS:
        readable = " and ".join(map(str, READABLE_VERSIONS))
        raise UsageError(
            f"{path} is of format {manifest.get('format')!r}, version {version!r}; "
            f"this program reads {FORMAT!r}, versions {readable}.",
            "Prepare the data again: deepchest prepare --force",
        )
    return manifest


def load_json(path: Path) -> dict[str, Any]:
    """Return a JSON object from a file of ours."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is damaged: {error}.", "Prepare the data again.") from error
    if not isinstance(document, dict) or not _is_whole(document):
        raise UsageError(f"{path} is damaged: parts of it are missing.", "Prepare the data again.")
    return document


def _is_whole(document: dict[str, Any]) -> bool:
    if document.get("format_version") not in READABLE_VERSIONS:
        return True  # of a format that we know nothing about
    shards = document.get("shards")
    return (
        all(isinstance(document.get(key), dict) for key in ("source", "settings"))
        and isinstance(document["settings"].get("size"), int)
        and isinstance(document.get("findings"), list)
        and isinstance(shards, list)
        and all(_is_whole_entry(entry) for entry in shards)
    )


def _is_whole_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() >= SHARD_KEYS
        and isinstance(entry["file"], str)
        and isinstance(entry["bytes"], int)
        and isinstance(entry["images"], int)
        and all(isinstance(lost, dict) and "image" in lost for lost in entry.get("excluded", ()))
    )

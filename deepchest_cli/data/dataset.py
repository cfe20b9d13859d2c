"""A prepared data set, mapped into memory and read a batch at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.shards import MANIFEST, ShardContent, read_manifest, read_shard
from deepchest_cli.data.splits import fold_split
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import to_json

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
VALIDATION_FRACTION = 0.1  # of a fold's training patients, where the data have no such split


@dataclass(frozen=True)
class Boxes:
    """Where findings were marked; B boxes."""

    row: Numbers  # (B,), of the image in the data set
    finding: NDArray[np.str_]  # (B,)
    box: NDArray[np.float32]  # (B, 4), x, y, width, height in stored pixels


@dataclass(frozen=True)
class RadiographDataset:
    """All N images of a data set with their labels (N, T) and metadata (N,)."""

    folder: Path
    manifest: dict[str, Any]
    sha256: str  # of the manifest, which has the hashes of the shards
    findings: tuple[str, ...]
    size: int  # stored height and width in pixels
    labels: Bytes
    known: Bytes
    columns: dict[str, NDArray[Any]]
    pixel_hash: NDArray[np.bytes_]  # (N,), of the stored pixels
    shards: tuple[Bytes, ...]  # mapped images of each shard
    starts: Numbers  # first row of each shard
    boxes: Boxes
    soft: NDArray[np.float32] | None = None  # (N, T), probabilities, where the shards have them

    def rows(self, split: str) -> Numbers:
        """Return the rows of a split, or of `all` images, in stored order."""
        if split == "all":
            return np.arange(len(self.labels))
        return np.flatnonzero(self.columns["split"] == split)

    def folded(self, fold: int, folds: int, seed: int) -> "RadiographDataset":
        """Return the same images in the splits of a fold, counted from 0; its scheme says so.

        Each seed has a partition of the patients into folds of its own.
        """
        within = self.columns["split"] != ""
        splits = np.full(len(within), "", dtype="<U10")
        settings = self.manifest["settings"]
        fraction = settings["validation_fraction"] or VALIDATION_FRACTION
        patients = self.columns["patient_id"][within]
        splits[within] = fold_split(patients, self.labels[within], fold, folds, fraction, seed)
        scheme = {**settings, "split_scheme": f"fold {fold + 1} of {folds}, seed {seed}"}
        manifest, columns = {**self.manifest, "settings": scheme}, {**self.columns, "split": splits}
        return replace(self, manifest=manifest, columns=columns)

    def of_findings(self, names: Mapping[str, str]) -> "RadiographDataset":
        """Return the same images with the labels of some findings: new name, name in this data set.

        Boxes of other findings keep their names.
        """
        columns = [self.findings.index(name) for name in names.values()]
        labels, known = self.labels[:, columns], self.known[:, columns]
        soft = None if self.soft is None else self.soft[:, columns]
        renamed = {theirs: ours for ours, theirs in names.items()}
        found = [renamed.get(name, name) for name in self.boxes.finding.tolist()]
        boxes = replace(self.boxes, finding=np.array(found, dtype=str))
        return replace(
            self, findings=tuple(names), labels=labels, known=known, soft=soft, boxes=boxes
        )

    def gather(self, rows: Numbers, out: Bytes | None = None) -> Bytes:
        """Return the images of `rows` (B,) as (B, S, S), in their order; into `out` if given."""
        images = np.empty((len(rows), self.size, self.size), np.uint8) if out is None else out
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1
        places = rows - self.starts[shard_of]
        pairs = zip(shard_of.tolist(), places.tolist(), strict=True)
        for position, (shard, place) in enumerate(pairs):
            images[position] = self.shards[shard][place]
        return images


def open_dataset(folder: Path) -> RadiographDataset:
    """Open a folder of shards; only those with a recorded hash and the recorded size count.

    Raises `UsageError` where there is no data set and `DeepChestError` where a shard is damaged.
    """
    return open_manifest(folder, read_manifest(folder))


def open_manifest(folder: Path, manifest: dict[str, Any]) -> RadiographDataset:
    """Open the shards of a folder that a manifest lists; errors as in `open_dataset`."""
    contents = [_open_shard(folder, entry, manifest) for entry in manifest["shards"]]
    contents = [content for content in contents if len(content.images)]
    if not contents:
        raise UsageError(f"{folder} holds no images.", "Prepare it again: deepchest prepare")
    lengths = [len(content.images) for content in contents]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return RadiographDataset(
        folder=folder,
        manifest=manifest,
        sha256=sha256(to_json(manifest).encode()).hexdigest(),
        findings=tuple(manifest["findings"]),
        size=int(manifest["settings"]["size"]),
        labels=np.concatenate([content.labels for content in contents]),
        known=np.concatenate([content.known for content in contents]),
        columns={
            name: np.concatenate([content.columns[name] for content in contents])
            for name in contents[0].columns
        },
        pixel_hash=np.concatenate([content.pixel_hash for content in contents]),
        # plain views: a memmap's own indexing takes three times as long as the copy
        shards=tuple(np.asarray(content.images) for content in contents),
        starts=starts,
        boxes=Boxes(
            np.concatenate([c.box_row + start for c, start in zip(contents, starts, strict=True)]),
            np.concatenate([content.box_finding.astype(str) for content in contents]),
            np.concatenate([content.box for content in contents]),
        ),
        soft=_soft(contents),
    )


def _soft(contents: list[ShardContent]) -> NDArray[np.float32] | None:
    """Return the soft labels (N, T), NaN in shards without them; None where no shard has any."""
    if all(content.soft is None for content in contents):
        return None
    missing = [np.full(content.labels.shape, np.nan, np.float32) for content in contents]
    pairs = zip(contents, missing, strict=True)
    return np.concatenate([nan if one.soft is None else one.soft for one, nan in pairs])


def _open_shard(folder: Path, entry: dict[str, Any], manifest: dict[str, Any]) -> ShardContent:
    path = folder / entry["file"]
    hint = "Run the same deepchest prepare again; it mends what is damaged."
    if not entry.get("sha256"):
        said = f"{folder / MANIFEST} has no hash of {path.name}: it can't count."
        raise DeepChestError(said, hint)
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise DeepChestError(f"Shard {path} is missing or cut short.", hint)
    try:
        content = read_shard(path, manifest["source"].get("kind", ""))
    except (OSError, KeyError, ValueError) as error:
        raise DeepChestError(f"Shard {path} is damaged: {error}.", hint) from error
    if list(content.findings) != manifest["findings"]:
        raise DeepChestError(f"Shard {path} has other findings than {folder / MANIFEST}.", hint)
    return content

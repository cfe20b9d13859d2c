"""Prepared data sets, one or several together, mapped into memory and read a batch at a time."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.shard_images import Bytes, ImageCopies, Shard, map_shard
from deepchest_cli.data.shards import MANIFEST, ShardContent, read_manifest, read_shard
from deepchest_cli.data.splits import fold_split
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import to_json

Numbers = NDArray[np.int64]
CHUNK = 128  # images that are resized at a time
VALIDATION_FRACTION = 0.1  # of a fold's training patients, where the data have no such split


@dataclass(frozen=True)
class Boxes:
    """Where findings were marked; B boxes."""

    row: Numbers  # (B,), of the image in the data set
    finding: NDArray[np.str_]  # (B,)
    box: NDArray[np.float32]  # (B, 4), x, y, width, height in stored pixels


@dataclass(frozen=True)
class Member:
    """A folder of shards: the only member of a data set, or one of several."""

    name: str  # its folder's, with as many of those above as tell it from the others
    folder: Path
    manifest: dict[str, Any]
    sha256: str  # of the manifest, which has the hashes of the shards
    findings: tuple[str, ...]  # labeled there, as the whole data set spells them

    @property
    def size(self) -> int:
        """Height and width in pixels of the stored images."""
        return int(self.manifest["settings"]["size"])


@dataclass(frozen=True)
class RadiographDataset:
    """All N images of one or several folders, with their labels (N, T) and metadata (N,)."""

    members: tuple[Member, ...]
    member: Numbers  # (N,), the number of each image's member
    findings: tuple[str, ...]
    size: int  # height and width in pixels of what is read; images that are stored larger shrink
    labels: Bytes
    known: Bytes
    columns: dict[str, NDArray[Any]]
    pixel_hash: NDArray[np.bytes_]  # (N,), of the stored pixels
    shards: tuple[Shard, ...]
    starts: Numbers  # first row of each shard
    boxes: Boxes
    soft: NDArray[np.float32] | None = None  # (N, T), probabilities, where the shards have them
    warnings: tuple[str, ...] = ()  # about what members share

    @property
    def only(self) -> Member:
        """The single member; `ValueError` where there are several."""
        (member,) = self.members
        return member

    @property
    def folder(self) -> Path:
        """The folder of the single member."""
        return self.only.folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the single member."""
        return self.only.manifest

    @property
    def sha256(self) -> str:
        """The hash of the manifest; of several, that of their hashes in order."""
        if len(self.members) == 1:
            return self.only.sha256
        return sha256(" ".join(member.sha256 for member in self.members).encode()).hexdigest()

    @property
    def folders(self) -> str:
        """All folders, for messages."""
        return ", ".join(str(member.folder) for member in self.members)

    @property
    def is_synthetic(self) -> bool:
        """Whether any of the images are synthetic."""
        return any(member.manifest["source"]["synthetic"] for member in self.members)

    @property
    def source_patients(self) -> Numbers:
        """Each image's patient (N,) as its source numbers them."""
        return self.columns.get("source_patient_id", self.columns["patient_id"])

    def named(self, names: Sequence[str | None]) -> "RadiographDataset":
        """Return the same images with other names of the members; None: the name stays."""
        pairs = zip(self.members, names, strict=True)
        members = tuple(replace(member, name=name or member.name) for member, name in pairs)
        return replace(self, members=members)

    def rows(self, split: str) -> Numbers:
        """Return the rows of a split, or of `all` images, in stored order."""
        if split == "all":
            return np.arange(len(self.labels))
        return np.flatnonzero(self.columns["split"] == split)

    def folded(self, fold: int, folds: int, seed: int) -> "RadiographDataset":
        """Return the same images in the splits of a fold, counted from 0; its scheme says so.

        Each seed has a partition of the patients into folds of its own.
        """
        splits = np.full(len(self.labels), "", dtype="<U10")
        for numbers in self._members_by_patients():
            within = (self.columns["split"] != "") & np.isin(self.member, numbers)
            settings = self.members[numbers[0]].manifest["settings"]
            fraction = settings["validation_fraction"] or VALIDATION_FRACTION
            patients = self.columns["patient_id"][within]
            splits[within] = fold_split(patients, self.labels[within], fold, folds, fraction, seed)
        scheme = f"fold {fold + 1} of {folds}, seed {seed}"
        members = []
        for member in self.members:
            settings = {**member.manifest["settings"], "split_scheme": scheme}
            members.append(replace(member, manifest={**member.manifest, "settings": settings}))
        return replace(self, members=tuple(members), columns={**self.columns, "split": splits})

    def _members_by_patients(self) -> list[list[int]]:
        """Return the numbers of the members, those that share patients in one group."""
        groups: list[tuple[list[int], NDArray[Any]]] = []
        for number in range(len(self.members)):
            numbers, patients = [number], self.columns["patient_id"][self.member == number]
            for group in list(groups):
                if np.isin(group[1], patients).any():
                    groups.remove(group)
                    numbers = [*group[0], *numbers]
                    patients = np.union1d(group[1], patients)
            groups.append((numbers, patients))
        return [sorted(numbers) for numbers, _ in groups]

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
        members = tuple(
            replace(
                member,
                findings=tuple(n for n, theirs in names.items() if theirs in member.findings),
            )
            for member in self.members
        )
        return replace(
            self,
            members=members,
            findings=tuple(names),
            labels=labels,
            known=known,
            soft=soft,
            boxes=boxes,
        )

    def at_size(self, size: int) -> "RadiographDataset":
        """Return the same images, read at a size that is at most the stored one."""
        if size >= self.size:
            return self
        box = self.boxes.box * np.float32(size / self.size)
        return replace(self, size=size, boxes=replace(self.boxes, box=box))

    def gather(self, rows: Numbers, out: Bytes | None = None) -> Bytes:
        """Return the images of `rows` (B,) as (B, S, S), in their order; into `out` if given.

        Raises `UnreadableShardError` where a file is no longer what was opened.
        """
        images = np.empty((len(rows), self.size, self.size), np.uint8) if out is None else out
        if self.is_of_one_size:
            return self.copy_stored(rows, images)
        from deepchest_cli.data.augmentation import shrink  # torch takes a second to import

        for size, places in self.stored_sizes(rows):
            for some in np.array_split(places, range(CHUNK, len(places), CHUNK)):
                stored = self.copy_stored(rows[some], np.empty((len(some), size, size), np.uint8))
                images[some] = stored if size == self.size else shrink(stored, self.size)
        return images

    @cached_property
    def is_of_one_size(self) -> bool:
        """Whether all images are stored at the size that is read."""
        return bool((self._shard_sizes == self.size).all())

    @cached_property
    def _shard_sizes(self) -> Numbers:
        return np.array([shard.images.shape[1] for shard in self.shards])

    def stored_sizes(self, rows: Numbers) -> list[tuple[int, Numbers]]:
        """Return the sizes at which images of `rows` (B,) are stored, and which these are."""
        sizes = self._shard_sizes[np.searchsorted(self.starts, rows, side="right") - 1]
        return [(int(size), np.flatnonzero(sizes == size)) for size in np.unique(sizes)]

    @cached_property
    def _copies(self) -> ImageCopies:
        return ImageCopies(self.shards)

    def copy_stored(self, rows: Numbers, out: Bytes) -> Bytes:
        """Copy the images of `rows` (B,), all stored at one size, into `out` (B, S, S)."""
        shard_of = np.searchsorted(self.starts, rows, side="right") - 1
        places = (rows - self.starts[shard_of]).tolist()
        self._copies.copy(shard_of.tolist(), places, out)
        return out


def open_dataset(folder: Path) -> RadiographDataset:
    """Open a folder of shards; only those with a recorded hash and the recorded size count.

    Raises `UsageError` where there is no data set and `DeepChestError` where a shard is damaged.
    """
    return open_manifest(folder, read_manifest(folder))


def open_manifest(folder: Path, manifest: dict[str, Any]) -> RadiographDataset:
    """Open the shards of a folder that a manifest lists; errors as in `open_dataset`."""
    opened = [_open_shard(folder, entry, manifest) for entry in manifest["shards"]]
    opened = [(shard, content) for shard, content in opened if len(content.labels)]
    contents = [content for _, content in opened]
    if not contents:
        raise UsageError(f"{folder} holds no images.", "Prepare it again: deepchest prepare")
    lengths = [len(content.labels) for content in contents]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    findings = tuple(manifest["findings"])
    manifest_hash = sha256(to_json(manifest).encode()).hexdigest()
    return RadiographDataset(
        members=(Member(folder.resolve().name, folder, manifest, manifest_hash, findings),),
        member=np.zeros(sum(lengths), dtype=np.int64),
        findings=findings,
        size=int(manifest["settings"]["size"]),
        labels=np.concatenate([content.labels for content in contents]),
        known=np.concatenate([content.known for content in contents]),
        columns={
            name: np.concatenate([content.columns[name] for content in contents])
            for name in contents[0].columns
        },
        pixel_hash=np.concatenate([content.pixel_hash for content in contents]),
        shards=tuple(shard for shard, _ in opened),
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


def _open_shard(
    folder: Path, entry: dict[str, Any], manifest: dict[str, Any]
) -> tuple[Shard, ShardContent]:
    """Return a shard, and its content without the images."""
    path = folder / entry["file"]
    hint = "Run the same deepchest prepare again; it mends what is damaged."
    if not entry.get("sha256"):
        said = f"{folder / MANIFEST} has no hash of {path.name}: it can't count."
        raise DeepChestError(said, hint)
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise DeepChestError(f"Shard {path} is missing or cut short.", hint)
    try:
        content = read_shard(path, manifest["source"].get("kind", ""))
        start = getattr(content.images, "offset", 0)  # none where there are no images
        shard = map_shard(path, entry["bytes"], start, content.images.shape)
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EMFILE:  # a mapped file stays open
            said = f"Shard {path} cannot be opened: too many files are open in this process."
            raise DeepChestError(said, "Allow more: ulimit -n 65536") from error
        raise DeepChestError(f"Shard {path} is damaged: {error}.", hint) from error
    if list(content.findings) != manifest["findings"]:
        raise DeepChestError(f"Shard {path} has other findings than {folder / MANIFEST}.", hint)
    return shard, replace(content, images=np.empty((0, 0, 0), np.uint8))  # which unmaps the file

"""Where the images of a source lie: loose files, archives, arrays."""

import filecmp
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.archives import (
    Slice,
    ZipMember,
    is_archive,
    is_streamed,
    list_archive,
    stream_tar,
)
from deepchest_cli.data.matching import Matcher, is_image_name
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import DeepChestError, UnreadableRadiographError, UsageError

Pixels = NDArray[np.uint8]
REFUSED = "its member of the archive is a link, a device, larger than 268 MB, or leads outside"


@dataclass(frozen=True)
class LooseFile:
    """An image in a file of its own."""

    path: str
    length: int  # bytes

    def read(self) -> bytes:
        """Return the bytes."""
        try:
            return Path(self.path).read_bytes()
        except FileNotFoundError as error:
            raise UnreadableRadiographError("the file is missing") from error
        except OSError as error:
            raise UnreadableRadiographError(error.strerror or str(error)) from error


Place = LooseFile | Slice | ZipMember  # an image that can be read at any time


@dataclass(frozen=True)
class Embedded:
    """An image that was read from a cell of a table; without data: the cell is empty."""

    path: Path
    data: bytes | None

    def read(self) -> bytes:
        """Return the bytes."""
        if self.data is None:
            raise UnreadableRadiographError("it is null")
        return self.data


@dataclass(frozen=True)
class Stream:
    """A file whose images can only be read one after the other: only that tells what it holds."""

    path: Path
    # yields name, content (None where not `wanted`, by the name) and acceptance of each image
    walk: Callable[
        [Callable[[str], bool]], Iterator[tuple[str, bytes | Pixels | Embedded | None, bool]]
    ]


@dataclass
class Images:
    """The images of a source's rows, and the archives that must be read to know."""

    root: Path
    matcher: Matcher
    places: dict[int, Place] = field(default_factory=dict)  # by row of the source's table
    streams: list[Stream] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)  # rows whose member is not to be read
    kinds: dict[str, int] = field(default_factory=dict)  # images by kind of place
    notes: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """Return where the images lie, for people."""
        listed = [f"{number:,} in {kind}" for kind, number in self.kinds.items() if number]
        if self.streams:
            listed.append(f"to be read from {few(self.name_of(s) for s in self.streams)}")
        return ", ".join(listed) or "none found"

    def name_of(self, stream: Stream) -> str:
        """Return the path of an archive below the source."""
        inside = stream.path.is_relative_to(self.root) and stream.path != self.root
        return str(stream.path.relative_to(self.root)) if inside else stream.path.name


def twice(name: str, here: str, there: str) -> UsageError:
    """Return the error for an image that lies in two places."""
    return UsageError(
        f"{name} is there twice: in {here} and in {there}.",
        "Remove one, or name the folder of one copy with --source.",
    )


def find_images(root: Path, paths: list[str]) -> Images:
    """Return the images of rows whose files are said to lie at `paths`.

    Loose files win over archives with the same image. Raises `UsageError` where two files are
    equally likely to be a row's image and differ.
    """
    images = Images(root, Matcher(paths))
    files = sorted(_walk(root))
    finding = _ImageSearch(images)
    for path, length in files:
        if is_image_name(path):
            finding.add(path, LooseFile(f"{root}/{path}", length))
    for path, length in files:  # where no other file is the row's image
        if not is_image_name(path) and images.matcher.is_wanted(path):
            finding.add_unless_there(path, LooseFile(f"{root}/{path}", length))
    images.kinds["files"] = len(images.places)
    for path, _ in files:
        if is_archive(path):
            finding.add_archive(root / path)
    finding.conclude()
    return images


def _walk(root: Path) -> Iterator[tuple[str, int]]:
    """Yield path below the root and length of each file; linked folders count, each once."""
    seen = set()
    for place, below, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we have been
            below.clear()
            continue
        seen.add(real)
        folder = os.path.relpath(place, root)
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_file():
                    inside = entry.name if folder == "." else f"{folder}/{entry.name}"
                    yield inside, entry.stat().st_size


class _ImageSearch:
    """What is found on the way."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.whole: set[int] = set()  # rows whose file agrees in all of its path
        self.names: dict[int, str] = {}
        self.surplus: list[str] = []
        self.twins = 0
        self.differing: list[str] = []

    def add(self, name: str, place: Place) -> None:
        """Take a file or a member of an archive, if some row is about it."""
        found = self.images.matcher.find(name)
        if found is None:
            self.surplus.append(name)
            return
        row, whole = found
        earlier = self.images.places.get(row)
        if earlier is not None and not self._replaces(row, whole, name, place, earlier):
            return
        if earlier is None and not isinstance(place, LooseFile):
            kind = f"{'zip' if hasattr(place, 'archive') else 'tar'} archives"
            self.images.kinds[kind] = self.images.kinds.get(kind, 0) + 1
        self.images.places[row], self.names[row] = place, name
        if whole:
            self.whole.add(row)

    def add_unless_there(self, name: str, place: LooseFile) -> None:
        """Take a file that is no image by its name, if its row has no image yet."""
        found = self.images.matcher.find(name)
        if found is not None and not isinstance(self.images.places.get(found[0]), LooseFile):
            self.add(name, place)

    def _replaces(self, row: int, whole: bool, name: str, place: Place, earlier: Place) -> bool:
        """Whether a second file of a row is the better one; raise where that cannot be said."""
        if isinstance(earlier, LooseFile) and not isinstance(place, LooseFile):
            if earlier.length != place.length:
                self.differing.append(self.names[row])
            return False
        if whole != (row in self.whole):
            return whole
        both_loose = isinstance(earlier, LooseFile) and isinstance(place, LooseFile)
        if both_loose and filecmp.cmp(earlier.path, place.path, shallow=False):
            self.twins += 1
            return False
        raise twice(Path(name).name, _where(earlier, self.names[row]), _where(place, name))

    def add_archive(self, path: Path) -> None:
        """Take the members of an archive, or remember to read it; a broken one is only noted."""
        if is_streamed(path):
            walk = partial(stream_tar, path, is_image=self.images.matcher.is_wanted)
            self.images.streams.append(Stream(path, walk))
            return
        try:
            members, refused = list_archive(path, self.images.matcher.is_wanted)
        except UsageError:
            raise
        except DeepChestError as error:
            self.images.notes.append(f"{error.message} It is not used.")
            return
        for name in refused:
            found = self.images.matcher.find(name)
            if found is not None:
                self.images.refused[found[0]] = REFUSED
        for name, member in members:
            self.add(name, member)

    def conclude(self) -> None:
        """Say what was noticed."""
        notes = self.images.notes
        if self.surplus:
            number = count_of(len(self.surplus), "image has", "images have")
            notes.append(f"{number} no row in the table: {few(self.surplus)}.")
        if self.twins:
            number = count_of(self.twins, "file is", "files are")
            notes.append(f"{number} there twice with the same bytes; one is used.")
        if self.differing:
            notes.append(
                f"{count_of(len(self.differing), 'image lies', 'images lie')} unpacked and, with "
                f"another length, in an archive; what is unpacked is used: {few(self.differing)}."
            )


def _where(place: Place, name: str) -> str:
    if isinstance(place, LooseFile):
        return place.path
    return f"{place.path.name} ({name})"

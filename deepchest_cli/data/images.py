"""Where the images of a source lie: loose files, archives, arrays; each found by its row's key."""

import filecmp
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.archives import (
    Slice,
    ZipMember,
    is_archive,
    is_streamed,
    list_tar,
    list_zip,
    stream_tar,
)
from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.data.text import few
from deepchest_cli.errors import DeepChestError, UnreadableRadiographError, UsageError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class LooseFile:
    """An image in a file of its own."""

    path: str

    def read(self) -> bytes:
        """Return the bytes."""
        try:
            return Path(self.path).read_bytes()
        except FileNotFoundError as error:
            raise UnreadableRadiographError("the file is missing") from error
        except OSError as error:
            raise UnreadableRadiographError(error.strerror or str(error)) from error


Place = LooseFile | Slice | ZipMember  # an image that can be read at any time


class Stream(Protocol):
    """Images that can only be read one after the other."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def title(self) -> str:
        """How messages name it."""

    def walk(
        self, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, bytes | Pixels | None, bool]]:
        """Yield name, content (None where not wanted) and acceptance of each image."""


@dataclass(frozen=True)
class TarStream:
    """A tar file packed as a whole: only reading it tells what it holds."""

    path: Path

    @property
    def title(self) -> str:
        """How messages name it."""
        return self.path.name

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None, bool]]:
        """Yield name, bytes (None where not wanted) and acceptance of each image."""
        return stream_tar(self.path, wanted)


@dataclass(frozen=True)
class Keys:
    """What a file and its row have in common: the last `depth` parts of a path, less the suffix."""

    depth: int

    def __call__(self, path: str) -> str:
        """Return the key of a path."""
        key = "/".join(path.rsplit("/", self.depth)[-self.depth :]) if "/" in path else path
        stem, dot, suffix = key.rpartition(".")
        return stem if dot and f".{suffix.lower()}" in SUFFIXES else key


def choose_keys(paths: list[str]) -> Keys:
    """Return keys of as few parts as tell all paths apart: one, where file names do."""
    deepest = 1 + max(path.count("/") for path in paths)
    for depth in range(1, deepest + 1):
        keys = Keys(depth)
        if len({keys(path) for path in paths}) == len(paths):
            return keys
    names = pd.Series([keys(path) for path in paths])
    raise UsageError(
        f"Two rows of the table are about one image, {names[names.duplicated()].iloc[0]}."
    )


@dataclass
class Images:
    """The images of a source by key, and the archives that must be read to know."""

    keys: Keys
    places: dict[str, Place] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)
    refused: int = 0  # members of archives that are links, devices, huge or lead outside
    twins: int = 0  # files that are there twice, with the same bytes
    kinds: dict[str, int] = field(default_factory=dict)  # images by kind of place, for people

    def describe(self) -> str:
        """Return where the images lie, for people."""
        listed = [f"{number:,} in {kind}" for kind, number in self.kinds.items() if number]
        if self.streams:
            listed.append(f"to be read from {few(stream.title for stream in self.streams)}")
        return ", ".join(listed) or "none found"


def find_images(root: Path, keys: Keys) -> Images:
    """Return every image below a folder; loose files win over archives with the same image.

    Raises `UsageError` where two files of one key differ.
    """
    images = Images(keys)
    files = sorted(_walk(root))
    for path in files:
        if Path(path).suffix.lower() in SUFFIXES:
            _add_file(images, path)
    images.kinds["files"] = len(images.places)
    for path in filter(is_archive, files):
        _add_archive(images, Path(path))
    return images


def _walk(root: Path) -> Iterator[str]:
    """Yield the files below a folder; linked folders count, each folder once."""
    seen = set()
    for place, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we have been
            below.clear()
            continue
        seen.add(real)
        with os.scandir(place) as entries:
            plain = {entry.name for entry in entries if entry.is_file()}
        yield from (f"{place}/{name}" for name in names if name in plain)


def _add_file(images: Images, path: str) -> None:
    key = images.keys(path)
    earlier = images.places.get(key)
    if earlier is None:
        images.places[key] = LooseFile(path)
    elif isinstance(earlier, LooseFile):
        if not filecmp.cmp(earlier.path, path, shallow=False):
            raise UsageError(
                f"{Path(path).name} is there twice, and the files differ: {earlier.path} and "
                f"{path}.",
                "Name the folder of one copy with --source.",
            )
        images.twins += 1


def _add_archive(images: Images, path: Path) -> None:
    if is_streamed(path):
        images.streams.append(TarStream(path))
        return
    members, refused = list_zip(path) if path.suffix.lower() == ".zip" else list_tar(path)
    images.refused += refused
    kind = f"{path.suffix.lower()[1:]} archives"
    for name, member in members.items():
        key = images.keys(name)
        earlier = images.places.get(key)
        if earlier is None:
            images.places[key] = member
            images.kinds[kind] = images.kinds.get(kind, 0) + 1
        elif not isinstance(earlier, LooseFile):
            raise twice(name, str(path), "another archive or place in it")


def twice(name: str, here: str, there: str) -> DeepChestError:
    """Return the error for an image that two archives hold."""
    return UsageError(
        f"{name} is there twice: in {here} and in {there}.", "Remove one of the archives."
    )

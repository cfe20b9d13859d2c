"""Where the images of a source lie: loose files, archives, arrays; each found by its row's key."""

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


def twice(name: str, here: str, there: str) -> DeepChestError:
    """Return the error for an image that two archives hold."""
    return UsageError(
        f"{name} is there twice: in {here} and in {there}.", "Remove one of the archives."
    )

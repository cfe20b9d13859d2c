"""Where the images of a source lie: loose files, archives, arrays."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.archives import Slice, ZipMember, stream_tar
from deepchest_cli.data.matching import Matcher, is_image_name
from deepchest_cli.data.text import few
from deepchest_cli.errors import UnreadableRadiographError, UsageError

Pixels = NDArray[np.uint8]


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


class Stream(Protocol):
    """Images that can only be read one after the other."""

    @property
    def path(self) -> Path:
        """The file."""

    def walk(
        self, wanted: Callable[[str], bool]
    ) -> Iterator[tuple[str, bytes | Pixels | None, bool]]:
        """Yield name, content (None where not wanted) and acceptance of each image."""


@dataclass(frozen=True)
class TarStream:
    """A tar file packed as a whole: only reading it tells what it holds."""

    path: Path
    is_image: Callable[[str], bool] = is_image_name  # by the name of a member

    def walk(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes | None, bool]]:
        """Yield name, bytes (None where not wanted) and acceptance of each image."""
        return stream_tar(self.path, wanted, self.is_image)


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

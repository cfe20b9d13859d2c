"""Archives of images, read in place: nothing is unpacked to the disk and no link is followed."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from zlib_ng import gzip_ng

from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.errors import DeepChestError, UnreadableRadiographError, UsageError

LARGEST_FILE = 2**28  # bytes of one member, 268 MB: no radiograph is larger
STREAMED = (".tar.gz", ".tgz")
BLOCK = 2**20  # bytes that are unpacked at a time
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)
AGAIN = "Download the archive again, or unpack what can be read of it."


@dataclass(frozen=True)
class Slice:
    """A member of an archive without compression: bytes of a file."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes; any number of threads may read at once."""
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), self.length, self.offset)


@dataclass(frozen=True)
class ZipMember:
    """A member of an opened zip file."""

    archive: zipfile.ZipFile
    name: str

    def read(self) -> bytes:
        """Return the bytes; any number of threads may read at once."""
        try:
            return self.archive.read(self.name)
        except (*DAMAGED, NotImplementedError) as error:  # RuntimeError: it is encrypted
            raise UnreadableRadiographError(f"damaged in its archive: {error}") from error


def is_archive(name: str) -> bool:
    """Whether a file is an archive of a kind that is read, by its name."""
    return name.lower().endswith((".zip", ".tar", *STREAMED))


def is_streamed(path: Path) -> bool:
    """Whether only reading it from its beginning tells what an archive holds."""
    return path.name.lower().endswith(STREAMED)


def list_zip(path: Path) -> tuple[dict[str, ZipMember], int]:
    """Return the images of a zip file by their names in it, and how many members were refused."""
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise _damaged(path, error) from error
    found, refused = {}, 0
    for info in archive.infolist():
        if info.is_dir() or not is_image(info.filename):
            continue
        kind = info.external_attr >> 28  # of the file, as Unix has it; 0 where another system wrote
        if kind not in (0, 8) or info.file_size > LARGEST_FILE or not is_inside(info.filename):
            refused += 1
            continue
        found[info.filename] = ZipMember(archive, info.filename)
    return found, refused


def list_tar(path: Path) -> tuple[dict[str, Slice], int]:
    """Return the images of a plain tar file by their names, and how many members were refused."""
    found, refused = {}, 0
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if is_acceptable(member):
                    found[member.name] = Slice(path, member.offset_data, member.size)
                elif is_image(member.name):
                    refused += 1
    except DAMAGED as error:
        raise _damaged(path, error) from error
    return found, refused


def stream_tar(
    path: Path, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, bytes | None, bool]]:
    """Yield name, bytes (None where not wanted) and acceptance of each image, in stored order.

    The archive is read once, from its beginning. Raises `DeepChestError` where it is damaged: what
    came before then was whole.
    """
    try:
        # zlib-ng unpacks twice as fast as the standard library
        with (
            gzip_ng.GzipNGFile(path) as packed,
            tarfile.open(fileobj=packed, mode="r|", bufsize=BLOCK) as archive,
        ):
            for member in archive:
                if is_acceptable(member):
                    file = archive.extractfile(member) if wanted(member.name) else None
                    yield member.name, file.read() if file else None, True
                elif is_image(member.name):
                    yield member.name, None, False
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
    except DAMAGED as error:
        raise _damaged(path, error) from error


def is_image(name: str) -> bool:
    """Whether a member is an image by its name; a Mac's hidden twins (`._x.png`) are not."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def is_inside(name: str) -> bool:
    """Whether a member's name stays within the archive: absolute names and `..` do not."""
    return not name.startswith(("/", "\\")) and ".." not in PurePosixPath(name).parts


def is_acceptable(member: tarfile.TarInfo) -> bool:
    """Whether a member is an image in a plain file: no link, no device, not outside, not huge."""
    return (
        is_image(member.name)
        and member.isreg()
        and is_inside(member.name)
        and member.size <= LARGEST_FILE
    )


def _damaged(path: Path, error: BaseException) -> DeepChestError:
    if isinstance(error, FileNotFoundError | PermissionError):
        return UsageError(f"{path}: {error.strerror}.")
    return DeepChestError(f"{path} is damaged: {str(error) or type(error).__name__}.", AGAIN)

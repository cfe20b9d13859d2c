"""Archives of images, read in place: nothing is unpacked to the disk and no link is followed."""

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from zlib_ng import gzip_ng

from deepchest_cli.data.matching import is_image_name
from deepchest_cli.errors import DeepChestError, UnreadableRadiographError, UsageError

LARGEST_FILE = 2**28  # bytes of one member, 268 MB: no radiograph is larger
STREAMED = (".tar.gz", ".tgz")
BLOCK = 2**20  # bytes that are unpacked at a time
AGAIN = "Download the archive again, or unpack what can be read of it."


@dataclass(frozen=True)
class Slice:
    """A member of an archive without compression: bytes of a file."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes; any number of threads may read at once."""
        try:
            with self.path.open("rb") as file:
                return os.pread(file.fileno(), self.length, self.offset)
        except OSError as error:
            raise UnreadableRadiographError(error.strerror or str(error)) from error


@dataclass(frozen=True)
class ZipMember:
    """A member of an opened zip file."""

    path: Path
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def length(self) -> int:
        """Bytes when unpacked."""
        return self.info.file_size

    def read(self) -> bytes:
        """Return the bytes; any number of threads may read at once."""
        try:
            return self.archive.read(self.info)
        except Exception as error:  # each kind of packing has errors of its own
            raise UnreadableRadiographError(f"damaged in its archive: {error}") from error


def is_archive(name: str) -> bool:
    """Whether a file is an archive of a kind that is read, by its name."""
    return name.lower().endswith((".zip", ".tar", *STREAMED))


def is_streamed(path: Path) -> bool:
    """Whether only reading it from its beginning tells what an archive holds."""
    return path.name.lower().endswith(STREAMED)


Names = Callable[[str], bool]  # whether a name is of an image
Listed = tuple[list[tuple[str, Slice | ZipMember]], list[str]]


def list_archive(path: Path, is_image: Names = is_image_name) -> Listed:
    """Return the images of a zip or tar file with their names, and the names that are refused.

    Raises `DeepChestError` where the archive is damaged.
    """
    try:
        read = _list_zip if path.suffix.lower() == ".zip" else _list_tar
        return read(path, is_image)
    except Exception as error:  # what strangers' files raise is not to be foreseen
        raise _damaged(path, error) from error


def _list_zip(path: Path, is_image: Names) -> Listed:
    archive = zipfile.ZipFile(path)
    found: list[tuple[str, Slice | ZipMember]] = []
    refused = []
    for info in archive.infolist():
        if not info.filename or info.is_dir() or not is_image(info.filename):
            continue
        kind = info.external_attr >> 28  # of the file, as Unix has it; 0 where another system wrote
        if kind in (0, 8) and info.file_size <= LARGEST_FILE and is_inside(info.filename):
            found.append((info.filename, ZipMember(path, archive, info)))
        else:
            refused.append(info.filename)
    return found, refused


def _list_tar(path: Path, is_image: Names) -> Listed:
    found: list[tuple[str, Slice | ZipMember]] = []
    refused = []
    with tarfile.open(path, "r:", tarinfo=StrictHeader) as archive:
        for member in archive:
            if is_acceptable(member, is_image):
                found.append((member.name, Slice(path, member.offset_data, member.size)))
            elif is_image(member.name):
                refused.append(member.name)
    return found, refused


class StrictHeader(tarfile.TarInfo):
    """A header that is damaged is an error; tarfile takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Any:
        """Read the next header."""
        try:
            return super().fromtarfile(archive)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"damaged header: {error}") from error


def stream_tar(
    path: Path, wanted: Callable[[str], bool], is_image: Names = is_image_name
) -> Iterator[tuple[str, bytes | None, bool]]:
    """Yield name, bytes (None where not wanted) and acceptance of each image, in stored order.

    The archive is read once, from its beginning. Raises `DeepChestError` where it is damaged.
    """
    try:
        # zlib-ng unpacks twice as fast as the standard library. The archive is read as if it could
        # be sought in, which only goes forward here: tarfile's own streams copy all bytes twice
        with (
            gzip_ng.GzipNGFile(path) as packed,
            tarfile.open(fileobj=packed, mode="r:", tarinfo=StrictHeader) as archive,
        ):
            for member in archive:
                if is_acceptable(member, is_image):
                    data = packed.read(member.size) if wanted(member.name) else None
                    if data is not None and len(data) < member.size:
                        raise EOFError("it ends too early")
                    yield member.name, data, True
                elif is_image(member.name):
                    yield member.name, None, False
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
            while packed.read(BLOCK):  # to the end, where the checksum is
                pass
    except Exception as error:  # zlib-ng, gzip and tarfile have many
        raise _damaged(path, error) from error


def is_inside(name: str) -> bool:
    """Whether a member's name stays within the archive: absolute names and `..` do not."""
    return not name.startswith(("/", "\\")) and ".." not in PurePosixPath(name).parts


def is_acceptable(member: tarfile.TarInfo, is_image: Names = is_image_name) -> bool:
    """Whether a member is an image in a plain file: no link, no device, not outside, not huge."""
    return (
        is_image(member.name)
        and member.isreg()
        and is_inside(member.name)
        and member.size <= LARGEST_FILE
    )


def _damaged(path: Path, error: Exception) -> DeepChestError:
    if isinstance(error, DeepChestError):
        return error
    if isinstance(error, FileNotFoundError | PermissionError):
        return UsageError(f"{path}: {error.strerror}.")
    return DeepChestError(f"{path} is damaged: {str(error) or type(error).__name__}.", AGAIN)

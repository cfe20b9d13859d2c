"""Which files are meant: named ones, those of folders and globs, and lines of standard input."""

import codecs
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from deepchest_cli.data.dicom import is_dicom
from deepchest_cli.data.image_checks import LFS_POINTER
from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.errors import UsageError

# how files of images begin; WebP names itself behind the length of its container
BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"GIF8")
HEAD = 160  # bytes that tell
DICOM_INDEX = "DICOMDIR"  # PS3.10 8.6: the name of the file that lists those of a disc
CHUNK = 1 << 16
NUL = b"\0"
BLANK = " \t\r\ufeff"  # around a path; the last is a byte-order mark
PRINT0 = "Add --null where paths end in NUL, as those of find -print0 do."
LISTED_FOLDER = "a folder, not an image (list files: find -type f)"
NOTHING_IN_FOLDER = "there is no image in this folder"
NOTHING_MATCHES = "no file matches this pattern"


@dataclass(frozen=True)
class InputFile:
    """A file to read, or why an argument yields none."""

    path: Path
    problem: str = ""


def find_inputs(arguments: Iterable[str], listed: Iterable[str] = ()) -> Iterator[InputFile]:
    """Yield the files of arguments in order; a folder's are sorted, and - stands for `listed`.

    A pattern that is no file's name is matched as the shell does, with ** for folders below.
    """
    for argument in arguments:
        if not argument:
            raise UsageError("An image has an empty name: is a variable of the shell unset?")
        if argument == "-":
            for path in map(Path, listed):
                yield InputFile(path, LISTED_FOLDER if path.is_dir() else "")
        elif Path(argument).is_dir():
            yield from _in_folder(Path(argument))
        elif glob.has_magic(argument) and not Path(argument).exists():
            yield from _matching(argument)
        else:
            yield InputFile(Path(argument))


def split_paths(stream: BinaryIO, end: bytes) -> Iterator[str]:
    """Yield the paths of a stream as they come, each ended by a line break or by a NUL byte.

    Lines are read as the tools of Windows write them, too: in UTF-16, with byte-order marks, quotes
    and blanks around a path and blank lines. Names that end in NUL are taken to the letter. Raises
    `UsageError` for lines with NUL bytes and for UTF-16 that is cut short.
    """
    if end == NUL:
        yield from map(os.fsdecode, filter(None, _ended(stream)))
        return
    for line in _lines(stream):
        if "\0" in line:
            raise UsageError("The paths on standard input hold NUL bytes.", PRINT0)
        if line.strip(BLANK):
            yield _named(line)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    read = getattr(stream, "read1", stream.read)  # what is there, not what fills the chunk
    return iter(lambda: read(CHUNK), b"")


def _ended(stream: BinaryIO) -> Iterator[bytes]:
    rest = b""
    for chunk in _chunks(stream):
        *whole, rest = (rest + chunk).split(NUL)
        yield from whole
    yield rest


def _lines(stream: BinaryIO) -> Iterator[str]:
    chunks, first = _chunks(stream), b""
    for chunk in chunks:
        first += chunk
        if b"\n" in first:
            break
    decoder, rest = _decoder(first), ""
    try:
        for chunk in chain([first], chunks):
            *whole, rest = (rest + decoder.decode(chunk)).split("\n")
            yield from whole
        yield rest + decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UsageError(f"The paths on standard input are cut short: {error.reason}.") from error


def _decoder(beginning: bytes) -> codecs.IncrementalDecoder:
    """Return what reads a list that begins so: UTF-16 with or without a mark, or names of files.

    A name may begin with the bytes of a mark, but has no NUL; a line of UTF-16 has one in its end.
    """
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    if NUL in beginning:
        if beginning.startswith(codecs.BOM_UTF16_LE) or beginning[1:4:2] == b"\0\0":
            encoding, errors = "utf-16-le", "surrogatepass"
        elif beginning.startswith(codecs.BOM_UTF16_BE) or beginning[0:3:2] == b"\0\0":
            encoding, errors = "utf-16-be", "surrogatepass"
    return codecs.getincrementaldecoder(encoding)(errors)


def _named(line: str) -> str:
    """Return the path in a line: all of it where that is a file, else without what surrounds it."""
    bare = line.strip(BLANK)
    quoted = len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'"
    plain = bare[1:-1] if quoted else bare
    spellings = (line, line.removesuffix("\r"), bare, plain, plain.replace("\\", "/"))
    # not Path.exists, which raises for what no file can be called
    return next((name for name in spellings if os.path.exists(name)), plain)  # noqa: PTH110


def _in_folder(folder: Path) -> Iterator[InputFile]:
    some = False
    for path in images_below(folder):
        some = True
        yield InputFile(path)
    if not some:
        yield InputFile(folder, NOTHING_IN_FOLDER)


def _matching(pattern: str) -> Iterator[InputFile]:
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (absolute patterns too)
    if not names:
        yield InputFile(Path(pattern), NOTHING_MATCHES)
    below_folders = "**" in pattern  # whose files are matched themselves
    for name in names:
        if not Path(name).is_dir():
            yield InputFile(Path(name))
        elif not below_folders:
            yield from _in_folder(Path(name))


def images_below(folder: Path, visited: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield the images below a folder by name, told by suffix or content; hidden ones are not.

    Linked folders count, unless a link leads back. The index of a DICOM medium is no image.
    """
    real = os.path.realpath(folder)
    if real in visited:
        return
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = folder / name
        if path.is_dir():
            yield from images_below(path, visited | {real})
        elif name != DICOM_INDEX and (path.suffix.lower() in SUFFIXES or _begins_as_image(path)):
            yield path


def _begins_as_image(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith((*BEGINNINGS, LFS_POINTER)) or is_dicom(head)

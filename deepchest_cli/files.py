"""Files: written whole or not at all, and text that people saved, in its usual encodings."""

import codecs
import csv
import errno
import io
import json
import math
import os
import platform
import re
import resource
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepchest_cli.errors import UsageError

# of what name, machine (version 0.1 wrote none) and process write
TEMPORARY = re.compile(r"\.(.+)\.(?:([A-Za-z0-9-]+)-)?(\d+)\.tmp(\..+)?")
PARQUET = ".parquet"
# of a file system that has none; NFS locks what is open for writing, and no folder is
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)


OPEN_FILES = 65536  # as many mapped shards as several large data sets have at a time


def allow_open_files() -> None:
    """Let this process hold more files open than a shell lets it, where the system allows that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a limit of the system's own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_full(error: OSError) -> bool:
    """Whether there is no room for a file: on the disk, in a quota or by its system."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _name_of_machine() -> str:
    """Return a name of where this process has its number: a machine, or a container on one.

    It is 32 characters of the host name, at whose end those of pods differ, and the process
    numbers' own number, which tells containers apart that have the name of their machine.
    """
    host = re.sub(r"[^A-Za-z0-9]+", "-", platform.node().partition(".")[0])[-32:].strip("-")
    with suppress(OSError):  # only Linux has one
        host += f"-{Path('/proc/self/ns/pid').stat().st_ino}"
    return host or "localhost"


MACHINE = _name_of_machine()


def temporary_path(path: Path, machine: str = "", process: int | None = None) -> Path:
    """Return where a process, this one by default, writes what is to become the file `path`.

    No process of another machine that shares the file system writes there.
    """
    return path.with_name(f".{path.name}.{machine or MACHINE}-{process or os.getpid()}.tmp")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block succeeds.

    An error of writing, for want of space for instance, says which file it is about.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        # torch hides the system's word behind one of its own
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.filename not in (None, str(temporary)):
            raise
        raise OSError(cause.errno, cause.strerror or str(cause), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[None]:
    """Make the folder of a file that the block writes; without the file, none that is new stays."""
    made = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, [path.name])
    try:
        yield
    except BaseException:
        for folder in made:
            folder.rmdir()
        raise


def refuse_unwritable(path: Path, flag: str, formats: Sequence[str], force: bool) -> None:
    """Raise `UsageError` for a file that a flag names and that must not or cannot be written.

    formats: suffixes that are known. `force` allows a file that is there already.
    """
    suffix = path.suffix.lower()
    if suffix not in formats:
        raise UsageError(
            f"{flag}: {path} does not end in {' or '.join(formats)}.",
            "The suffix says which format the file is to have.",
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", f"Name a file with {flag}.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists already.", "Replace it with --force.")
    if suffix == PARQUET and find_spec("pyarrow") is None:
        from deepchest_cli.extras import install_hint

        raise UsageError(f"Writing {path} needs pyarrow.", install_hint("parquet"))


def sweep(folder: Path, names: Iterable[str] | None = None) -> None:
    """Remove what killed processes have left half-written in a folder: of any file, or of `names`.

    What a process writes that lives stays, and so does all from other machines, whose processes
    cannot be seen from here.
    """
    wanted = None if names is None else set(names)
    for path, name, is_dead in _half_written(folder.glob(".*.tmp*")):
        if (wanted is None or name in wanted) and is_dead:
            path.unlink(missing_ok=True)


def sweep_locked(folder: Path, own: Iterable[str]) -> None:
    """Do the same in a folder that is locked, and in all below it.

    own: names of files that only the process that locked the folder writes; what is left of those
    goes at once, even where another process has the number of the writer by now, and from whatever
    machine it is: a batch system starts a killed run again on another one. If the first process
    still lives there, which no lock tells between machines, its write fails where it would take its
    place, and it ends with that error; a file of the one that took over is never replaced by it.
    """
    ours = set(own)
    for path, name, is_dead in _half_written(folder.rglob(".*.tmp*")):
        if name in ours or is_dead:
            path.unlink(missing_ok=True)


def _half_written(paths: Iterable[Path]) -> Iterator[tuple[Path, str, bool]]:
    """Yield temporary paths, the name of the file each was to become, whether its writer is dead.

    Only writers on this machine are known to be dead.
    """
    for path in paths:
        found = TEMPORARY.fullmatch(path.name)
        if found:
            name, machine, process = found[1], found[2] or MACHINE, int(found[3])
            yield path, name, machine == MACHINE and not _lives(process)


def _lives(process: int) -> bool:
    """Whether a process may be there that is another one than this, which writes nothing now."""
    if process == os.getpid():
        return False
    if os.name != "posix":  # to ask would be to interrupt it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


class LockedFolderError(UsageError):
    """Another process has locked a folder."""


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Keep a folder for this process; the system lets go of it even when we are killed.

    shared: with others that share it too, and without one that has it alone. Raises
    `LockedFolderError` when another process has locked it. Where the system or the file system has
    no POSIX locks nothing is locked, and between machines nothing relies on locks: network file
    systems have none of folders.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedFolderError(
                f"Another deepchest process is working in {folder}.", "Wait until it has ended."
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether another process has locked a folder for itself; other checks do not count."""
    try:
        with locked(folder, shared=True):
            return False
    except LockedFolderError:
        return True


def read_text(path: Path) -> str:
    """Return a text file in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises `UsageError`, with the line, for bytes of another encoding.
    """
    return decode_text(path.read_bytes(), path)


def decode_text(data: bytes, where: object) -> str:
    """Return text from the bytes of a file, its line ends as line feeds; `where` names it."""
    try:
        text = data.decode(_encoding_of(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} is not {error.encoding.upper()}"
        raise UsageError(f"{where}, line {line}: {found}.", "Save the file as UTF-8.") from error
    return io.StringIO(text.removeprefix("\ufeff"), newline=None).read()


def _encoding_of(data: bytes) -> str:
    """Return an encoding by a file's mark, else by where a first letter of ASCII has its NULs."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = (byte == 0 for byte in (data[:2] + b"  ")[:2])
    if first != second:
        return "utf-16-be" if first else "utf-16-le"
    return "utf-8"


def read_toml_file(path: Path, what: str) -> dict[str, Any]:
    """Return a TOML file that a person wrote; `what` says in the error what is missing."""
    import tomllib

    if not path.is_file():
        raise UsageError(f"There is no {what} {path}.", "Check the path.")
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise UsageError(f"{path} is nested too deeply.") from error


def write_text(path: Path, text: str) -> None:
    """Write a whole text file or none."""
    sweep(path.parent, [path.name])
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, whole or not at all, ending in a line break."""
    write_text(path, to_json(document, indent=2) + "\n")


def to_json(document: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinities, which JSON does not know, become null."""
    return json.dumps(_finite(document), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows, which have a key for each column, as CSV; None and NaN are empty cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_finite(dict(row)) for row in rows)
    return text.getvalue()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal; of a folder, that of its files'."""
    import hashlib  # OpenSSL takes its time, and most commands hash nothing

    if path.is_dir():
        files = sorted(one for one in path.rglob("*") if one.is_file())
        every = [f"{sha256_of(one)}  {one.relative_to(path).as_posix()}\n" for one in files]
        return hashlib.sha256("".join(every).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A run or a comparison in a list, and what the files of its folder say about its size and age."""

import errno
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from deepchest_cli.config.flags import RUN_CONFIG, resume_line
from deepchest_cli.training.run_files import ENVIRONMENT

Kind = Literal["run", "comparison"]
# planned: no run of a comparison has begun; failed: it has ended with an error; damaged: its files
# are lost or unreadable
State = Literal["finished", "running", "interrupted", "planned", "failed", "damaged"]
GENERATED = re.compile(r"\d{8}-\d{6}")  # how the names of folders begin that are not chosen
OLD_VERSION = "0.1."  # whose runs this version does not resume


@dataclass(frozen=True)
class RunCounts:
    """How many runs of a comparison, or folds of a run, have ended, and how many there are."""

    finished: int
    failed: int  # or diverged
    planned: int | None  # None: not known yet


@dataclass(frozen=True)
class Entry:
    """A run or a comparison; what its files do not say is None."""

    kind: Kind
    path: Path
    state: State
    started: datetime
    size: int  # bytes of all its files
    reason: str | None = None  # why it has failed or is damaged
    version: str | None = None  # of deepchest, that began it
    weighter: str | None = None  # of a comparison, that with the best macro AUROC
    weighters: tuple[str, ...] = ()
    backbone: str | None = None
    data: tuple[str, ...] = ()
    epochs: int | None = None  # that have ended
    planned_epochs: int | None = None
    best_epoch: int | None = None  # counted from 1
    # on the validation split: of the best epoch; of a comparison, its mean over the seeds; of a run
    # with folds that of the out-of-fold predictions
    macro_auroc: float | None = None
    is_latest: bool = False  # whether the link `latest` beside it names it
    runs: RunCounts | None = None  # of a comparison, or of a run with folds
    own_runs: tuple["Entry", ...] = ()  # of such a one, where they were asked for
    resume: str | None = None  # the command that goes on
    model: Path | None = None  # the run with the best model


@dataclass
class Contents:
    """What a folder holds."""

    size: int = 0  # bytes of all files below it
    files: dict[str, int] = field(default_factory=dict)  # sizes of those in the folder itself
    modified: float = math.inf  # when the oldest record of an environment was written
    unreadable: dict[Path, str] = field(default_factory=dict)  # folders, and why


def contents_of(folder: Path) -> Contents:
    """Return what a folder holds, without following links out of it."""
    found, waiting = Contents(), [os.fspath(folder)]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    with suppress(FileNotFoundError):  # written or removed just now
                        status = entry.stat(follow_symlinks=False)
                        found.size += status.st_size
                        if entry.name == ENVIRONMENT:
                            found.modified = min(found.modified, status.st_mtime)
                        if current == os.fspath(folder):
                            found.files[entry.name] = status.st_size
        except FileNotFoundError:
            continue
        except OSError as error:
            found.unreadable[Path(current)] = error.strerror or str(error)
    return found


def open_file(path: Path) -> TextIO:
    """Open a file of text; raises `OSError` also for a device or a pipe, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no file")
    return path.open(newline="", encoding="utf-8")


def _started(folder: Path, contents: Contents) -> datetime:
    """Return when a run began: by its name, else by when its environment was recorded."""
    if match := GENERATED.match(folder.name):
        with suppress(ValueError):
            return datetime.strptime(match[0], "%Y%m%d-%H%M%S").astimezone()
    modified = contents.modified
    if not math.isfinite(modified):
        modified = folder.stat().st_mtime
    return datetime.fromtimestamp(modified).astimezone()


def version_of(folder: Path) -> str | None:
    """Return the version of deepchest that began a run; None where the record is lost."""
    with (
        suppress(OSError, ValueError, KeyError, TypeError, RecursionError),
        open_file(folder / ENVIRONMENT) as file,
    ):
        return str(json.load(file)["deepchest"])
    return None


def begun(kind: Kind, folder: Path, values: Mapping[str, Any], contents: Contents) -> Entry:
    """Return what an entry has whatever its state, by its configuration: as if interrupted."""
    return Entry(
        kind=kind,
        path=folder,
        state="interrupted",
        started=_started(folder, contents),
        size=contents.size,
        version=version_of(folder),
        backbone=setting(values, "backbone", str),
        data=_data_of(values),
        planned_epochs=setting(values, "epochs", int),
    )


def resume_of(
    command: str, folder: Path, values: Mapping[str, Any], version: str | None
) -> str | None:
    """Return the command that goes on in a folder with a configuration; None for version 0.1."""
    return None if str(version).startswith(OLD_VERSION) else resume_line(command, folder, values)


def setting(values: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """Return a value of a configuration; None where it is not there or of another type."""
    value = values.get(name)
    return value if type(value) is kind else None


def _data_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the folders of the data in a configuration, which 0.1 wrote as a single one."""
    data = values.get("data")
    return tuple(map(str, data)) if isinstance(data, list) else (str(data),) if data else ()


def read_config(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Return the configuration of a folder, and why it cannot be read or None."""
    try:
        with open_file(folder / RUN_CONFIG) as file:
            return _values_in(file.read()), None
    except FileNotFoundError:
        return {}, f"{RUN_CONFIG} is missing."
    except OSError as error:
        return {}, f"{RUN_CONFIG} cannot be read: {error.strerror}."
    except (ValueError, RecursionError) as error:  # of TOML or of UTF-8
        return {}, f"{RUN_CONFIG} is damaged: {error}."


def _values_in(text: str) -> dict[str, Any]:
    """Return the values of a configuration; raises `ValueError` for what is no TOML."""
    try:  # as it is written, a line a value; a tenth of the time for a thousand runs
        pairs = (line.partition(" = ") for line in text.splitlines())
        return {key: json.loads(value) for key, _, value in pairs}
    except ValueError:  # a person has changed it
        import tomllib

        return tomllib.loads(text)

"""The search for runs and comparisons below folders."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepchest_cli.comparison.listing.comparisons import read_comparison
from deepchest_cli.comparison.listing.entry import (
    Contents,
    Entry,
    begun,
    contents_of,
    read_config,
    version_of,
)
from deepchest_cli.comparison.listing.runs import read_run
from deepchest_cli.comparison.running.jobs import COMPARISONS, RUNS, SINGLE_TASK
from deepchest_cli.config.flags import RUN_CONFIG, RUN_ENVIRONMENT
from deepchest_cli.errors import UsageError
from deepchest_cli.model.checkpoint_format import BEST, LAST
from deepchest_cli.model.fold_runs import fold_folders
from deepchest_cli.training import run_files
from deepchest_cli.training.run_files import METRICS

DEFAULT_FOLDERS = (run_files.RUNS, COMPARISONS)
DEPTH = 8  # folders below a given one: a run is not looked for further down


@dataclass
class Listing:
    """The runs and comparisons below some folders, the newest first."""

    entries: list[Entry] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)  # folders without a run
    unreadable: dict[Path, str] = field(default_factory=dict)  # folders, and why


def list_runs(folders: Sequence[Path] = (), own_runs: bool = False) -> Listing:
    """Return what is below folders; without any, below those of `DEFAULT_FOLDERS` that are there.

    Nothing is written, and no checkpoint is opened. own_runs: also read each run of a comparison. A
    link is followed where it leads to a run or a comparison itself. Raises `UsageError` for a path
    that is no folder.
    """
    search = _Search(own_runs)
    for folder in folders or [path for path in DEFAULT_FOLDERS if path.is_dir()]:
        if not folder.is_dir():
            problem = "is no folder" if folder.exists() else "is not there"
            raise UsageError(
                f"{folder} {problem}.", "Name a folder of runs, or a run: deepchest runs FOLDER"
            )
        search.look_in(folder)
    search.look_behind_links()
    search.found.entries.sort(key=lambda entry: entry.started, reverse=True)
    return search.found


class _Search:
    def __init__(self, own_runs: bool) -> None:
        self.found = Listing()
        self.own_runs = own_runs
        self.links: list[Path] = []
        self.seen: set[tuple[int, int]] = set()

    def look_in(self, folder: Path, depth: int = 0) -> bool:
        """Add what is in a folder and below it; return whether there is, or may be, anything."""
        try:
            below = self._folders_in(folder)
        except FileNotFoundError:  # removed just now
            return True
        except OSError as error:
            self.found.unreadable[folder] = error.strerror or str(error)
            return True
        if below is None:
            return True
        found = {path: self.look_in(path, depth + 1) for path in below if depth < DEPTH}
        has_any = any(found.values())
        if has_any or not depth:
            self.found.passed_over += [path for path, is_used in found.items() if not is_used]
        return has_any

    def _folders_in(self, folder: Path) -> list[Path] | None:
        """Return the folders to look in; None for a run or a comparison, which is added."""
        if self._is_known(folder):
            return None
        names, folders = set(), []
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if entry.is_symlink():
                    self.links.append(folder / entry.name)
                elif entry.is_dir() and not entry.name.startswith("."):
                    folders.append(folder / entry.name)
        if names & {RUN_CONFIG, RUN_ENVIRONMENT} and self._add(folder):
            return None
        return sorted(folders)

    def look_behind_links(self) -> None:
        """Add runs and comparisons that links lead to, unless they are listed already."""
        for link in self.links:
            try:
                if (link / RUN_CONFIG).is_file() and not self._is_known(link):
                    self._add(link)
            except OSError:  # it leads nowhere, in a circle, or where nobody may look
                continue

    def _is_known(self, folder: Path) -> bool:
        status = folder.stat()
        known = (status.st_dev, status.st_ino) in self.seen
        self.seen.add((status.st_dev, status.st_ino))
        return known

    def _add(self, folder: Path) -> bool:
        """Add the entry of a folder; return whether it is a run or a comparison."""
        entry = self._read(folder)
        if entry is None:
            return False
        if self.own_runs and entry.runs is not None:
            entry = replace(entry, own_runs=tuple(self._own_runs(folder, entry)))
        self.found.entries.append(entry)
        return True

    def _own_runs(self, folder: Path, entry: Entry) -> Iterator[Entry]:
        below, places = _Search(own_runs=False), [folder / name for name in (RUNS, SINGLE_TASK)]
        if entry.kind == "run" and entry.runs is not None:
            places = fold_folders(folder, entry.runs.planned or 0)
        for place in places:
            if place.is_dir():
                below.look_in(place)
        yield from sorted(below.found.entries, key=lambda entry: str(entry.path))

    def _read(self, folder: Path) -> Entry | None:
        values, problem = read_config(folder)
        if "weighters" in values:
            return read_comparison(folder, values, self._contents(folder))
        if "weighter" in values and "backbone" in values:
            return read_run(folder, values, self._contents(folder))
        if not _is_left_of_a_run(folder, problem is None):
            return None
        problem = problem or f"{RUN_CONFIG} names no weighter."
        return _damaged(folder, self._contents(folder), problem)

    def _contents(self, folder: Path) -> Contents:
        contents = contents_of(folder)
        self.found.unreadable.update(contents.unreadable)
        return contents


def _is_left_of_a_run(folder: Path, is_readable: bool) -> bool:
    """Whether a folder without the configuration of a run was that of one, or of a comparison.

    is_readable: whether there is a configuration, of something else.
    """
    if version_of(folder) is not None:
        return True
    names = () if is_readable else (METRICS, BEST, LAST, RUNS)
    return (folder / RUN_CONFIG).exists() and any((folder / name).exists() for name in names)


def _damaged(folder: Path, contents: Contents, problem: str) -> Entry:
    return replace(
        begun("comparison" if (folder / RUNS).is_dir() else "run", folder, {}, contents),
        state="damaged",
        reason=problem,
        model=folder if contents.files.get(BEST) else None,
    )

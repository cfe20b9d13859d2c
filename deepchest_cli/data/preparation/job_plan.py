"""What a plan of jobs fixes, so that each job knows its shards whatever the others do.

It lies beside the shards of each size and is written once. A job writes shards and one file of its
own, so that jobs on several machines, between which no lock holds, never write the same file.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig, command_line
from deepchest_cli.data.preparation.folder import (
    JOB_FILES,
    Entries,
    archive_paths,
    archives_of,
    difference,
    entries_of,
    is_same,
    save_progress,
)
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.preparation.resuming import Shards, cut_shards
from deepchest_cli.data.shards import MANIFEST, PLAN, load_json
from deepchest_cli.data.text import consecutive
from deepchest_cli.engines.versions import program_versions
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of

Document = dict[str, Any]


def rows_in(ranges: list[list[int]]) -> list[int]:
    """Return the rows of ranges, given by first and last: what `consecutive` has returned."""
    return [row for first, last in ranges for row in range(first, last + 1)]


def describe_plan(plan: Plan, size: int, jobs: int) -> Document:
    """Return what is written: settings and source, rows, and what archives turned out to hold."""
    streamed = plan.streamed
    paths = archive_paths(plan)
    rows_of: dict[str, list[int]] = {name: [] for name in paths}
    for row in sorted(streamed.archives):
        rows_of[streamed.archives[row]].append(row)
    return {
        **plan.identity(size),
        "versions": shard_versions(),
        "jobs": jobs,
        "candidates": consecutive(np.flatnonzero(plan.candidates()).tolist()),
        "archives": archives_of(plan),
        "sought": consecutive(row for row in range(len(plan.table)) if plan.place(row) is None),
        "rows_in_archives": {name: consecutive(rows) for name, rows in rows_of.items()},
        "damaged_archives": {name: sha256_of(paths[name]) for name in streamed.damaged},
        "reasons": {str(row): why for row, why in sorted(streamed.reasons.items())},
        "shards": [],
    }


def find_plan(folder: Path) -> Document | None:
    """Return the plan in a folder, if there is one that is not damaged."""
    with suppress(FileNotFoundError, UsageError):
        return load_json(folder / PLAN)
    return None


def settle_by_plan(plan: Plan, document: Document) -> bool:
    """Take from a plan of jobs what archives hold; False where that has to be read again.

    So it is with other archives, and where files beside them, whose images were not looked for in
    archives, are gone. A damaged archive may have been mended without another length, so its bytes
    are compared.
    """
    streamed = plan.streamed
    sought = set(rows_in(document["sought"]))
    if document["archives"] != archives_of(plan) or not streamed.rows <= sought:
        return False
    paths = archive_paths(plan)
    if any(sha256_of(paths[name]) != there for name, there in document["damaged_archives"].items()):
        return False
    held = document["rows_in_archives"]
    streamed.archives = {row: name for name in held for row in rows_in(held[name])}
    streamed.rows, streamed.is_certain = streamed.rows & streamed.archives.keys(), True
    streamed.reasons = {int(row): why for row, why in document["reasons"].items()}
    streamed.damaged = list(document["damaged_archives"])
    return True


def plan_command(config: PrepareConfig) -> str:
    """Return the command that plans the jobs of which `config` is one."""
    return command_line("prepare", replace(config, job=None, plan=True))


def read_plans(plan: Plan, config: PrepareConfig, data: Path) -> dict[int, Document]:
    """Return the plan of each size that is not published yet.

    Raises `UsageError` where there is none, or one of other settings, sources or versions.
    """
    found = {}
    for size in plan.sizes:
        folder, identity = plan.folder(data, size), plan.identity(size)
        is_published = (folder / MANIFEST).is_file()
        document = load_json(folder / MANIFEST) if is_published else find_plan(folder)
        if document is None:
            raise UsageError(
                f"{folder} has no plan of jobs.",
                f"Plan them: {plan_command(config)}",
            )
        if not is_same(document, identity):
            kind = "data" if is_published else "a plan of jobs for data"
            raise UsageError(
                f"{folder} holds {kind} prepared from {difference(document, identity)}.",
                "Give each job the flags of the plan, besides --plan and --jobs, and --job N.",
            )
        if not is_published:
            _refuse_other_versions(folder, document)
            found[size] = document
    return found


def shard_versions() -> dict[str, str]:
    """Return the versions of what decides on the bytes of a shard."""
    return {**program_versions(), "Pillow": PIL.__version__, "HDF5": h5py.version.hdf5_version}


def _refuse_other_versions(folder: Path, document: Document) -> None:
    planned, ours = document["versions"], shard_versions()
    other = [name for name in ours if ours[name] != planned.get(name)]
    if other:
        theirs = ", ".join(f"{name} {planned.get(name)}" for name in other)
        found = ", ".join(f"{name} {ours[name]}" for name in other)
        raise UsageError(
            f"The jobs in {folder} were planned with {theirs}, and this is {found}.",
            "Install the same versions on all machines: others may write other bytes.",
        )


def count_jobs(plan: Plan, candidates: NDArray[np.bool_], sizes: Iterable[int]) -> int:
    """Return how many jobs there may be: as many as the size with the fewest shards has."""
    return min(len(cut_shards(candidates, plan.rows_per_shard(size))) for size in sizes)


def shards_of_job(plan: Plan, documents: dict[int, Document], number: int) -> dict[int, Shards]:
    """Return the shards of each size that a job converts, which are neighbors.

    The size with the fewest shards decides where jobs begin; a shard belongs to the job in whose
    rows its first one lies.
    """
    cut = {}
    for size, document in documents.items():
        there = np.zeros(len(plan.table), dtype=bool)
        there[rows_in(document["candidates"])] = True
        cut[size] = cut_shards(there, plan.rows_per_shard(size))
    coarsest = list(min(cut.values(), key=len).values())
    jobs = next(iter(documents.values()))["jobs"]
    starts = [coarsest[block[0]][0] for block in np.array_split(np.arange(len(coarsest)), jobs)]
    return {
        size: {
            name: rows
            for name, rows in shards.items()
            if np.searchsorted(starts, rows[0], side="right") == number
        }
        for size, shards in cut.items()
    }


class JobFile:
    """The progress of one job at one size."""

    def __init__(self, folder: Path, identity: Document, number: int) -> None:
        self.folder, self.identity, self.number = folder, identity, number
        self.plan = sha256_of(folder / PLAN)
        self.path = folder / JOB_FILES.replace("*", f"{number:05d}")

    def is_complete(self) -> bool:
        """Whether the job has recorded, for this plan, that it has ended."""
        try:
            found = load_json(self.path)
        except (UsageError, FileNotFoundError):  # damaged, or not begun
            return False
        return found.get("complete") is True and found.get("plan") == self.plan

    def entries(self) -> Entries:
        """Return the shards that the job has recorded."""
        return entries_of(load_json(self.path))

    def save(self, done: Entries, complete: bool = False) -> None:
        """Record finished shards.

        Raises `FileNotFoundError` where the data set has been published meanwhile, and `UsageError`
        where the jobs have been planned anew.
        """
        if sha256_of(self.folder / PLAN) != self.plan:
            raise UsageError(
                f"The jobs in {self.folder} have been planned anew.", "Start the new jobs."
            )
        more = {"job": self.number, "plan": self.plan, "complete": complete}
        save_progress(self.path, {**self.identity, **more}, done)


def remaining_jobs(plan: Plan, data: Path) -> list[int]:
    """Return the numbers of the planned jobs that have not ended at every size."""
    remaining = set()
    for size in plan.sizes:
        folder = plan.folder(data, size)
        document = find_plan(folder)
        for number in range(1, 1 + (document["jobs"] if document else 0)):
            if not JobFile(folder, plan.identity(size), number).is_complete():
                remaining.add(number)
    return sorted(remaining)

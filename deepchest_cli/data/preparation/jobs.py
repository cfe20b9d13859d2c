"""A preparation as numbered jobs: planned in one process, completed in any, in any order."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.estimate import refuse_little_space, shard_bytes
from deepchest_cli.data.preparation.filling import Filling
from deepchest_cli.data.preparation.folder import (
    JOB_FILES,
    Entries,
    enter,
    entries_of,
    recorded_in,
    save_progress,
)
from deepchest_cli.data.preparation.job_plan import (
    Document,
    JobFile,
    count_jobs,
    describe_plan,
    find_plan,
    plan_command,
    read_plans,
    settle_by_plan,
    shards_of_job,
)
from deepchest_cli.data.preparation.planning import Plan, Say, plan_preparation
from deepchest_cli.data.preparation.publishing import no_images, reasons_of, refuse_damaged
from deepchest_cli.data.preparation.resuming import Shards, cut_shards, keep_planned
from deepchest_cli.data.preparation.running import (
    convert,
    refuse_full_disk,
    refuse_mixture,
    scratch_bytes,
)
from deepchest_cli.data.preparation.supplying import Progress, read_archives
from deepchest_cli.data.shards import MANIFEST, PLAN, PROGRESS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.files import locked, sha256_of, sweep, write_json

IMAGES_PER_JOB = 8192


@dataclass(frozen=True)
class PlannedJobs:
    """What was planned, or was planned before."""

    jobs: int  # 0: all is prepared
    images: int
    shards: dict[str, int]  # by folder
    unchanged: bool


@dataclass(frozen=True)
class CompletedJob:
    """What a job has converted."""

    job: int
    jobs: int  # 0: all was published before
    images: int
    shards: int  # of all sizes
    unreadable: int  # images, at any size
    unchanged: bool  # whether there was nothing to do


def plan_jobs(
    plan: Plan, config: PrepareConfig, data: Path, progress: Progress, say: Say
) -> PlannedJobs:
    """Divide a preparation into `config.jobs` jobs and write what each has to know.

    Archives that only reading tells about are read through. Raises `UsageError` for a folder with
    other data, or with a plan of another number of jobs of which some have begun.
    """
    with ExitStack() as stack:
        refuse_mixture(plan, data)
        recorded: dict[int, Entries] = {}
        for size in plan.sizes:
            folder = plan.folder(data, size)
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
            found = enter(folder, plan.identity(size), config.force)
            if not (folder / MANIFEST).is_file():
                recorded[size] = entries_of(found) if found else {}
        if not recorded:
            return PlannedJobs(0, 0, {}, unchanged=True)
        before = {size: find_plan(plan.folder(data, size)) for size in recorded}
        if not plan.streamed.is_certain:
            known = [document for document in before.values() if document is not None]
            if not (known and settle_by_plan(plan, known[0])):
                read_archives(plan, progress, say)
        _refuse_losses(plan, config, say)
        jobs = _count(plan, config, data, before, say)
        documents = {size: describe_plan(plan, size, jobs) for size in recorded}
        if documents != before:
            refuse_full_disk(plan, config, data, int(plan.candidates().sum()), with_scratch=False)
            for size, document in documents.items():
                folder = plan.folder(data, size)
                save_progress(folder / PROGRESS, plan.identity(size), recorded[size])
                write_json(folder / PLAN, document)
        candidates = plan.candidates()
        shards = {
            str(plan.folder(data, size)): len(cut_shards(candidates, plan.rows_per_shard(size)))
            for size in documents
        }
        unchanged = documents == before
        return PlannedJobs(jobs, int(candidates.sum()), shards, unchanged)


def _refuse_losses(plan: Plan, config: PrepareConfig, say: Say) -> None:
    """Raise `DeepChestError` where nothing could be published, and warn of missing images."""
    candidates = plan.candidates()
    names = plan.table["image_index"].to_numpy()
    lost = {names[row]: plan.reason(row) for row in np.flatnonzero(~candidates).tolist()}
    if not candidates.any():
        raise no_images(lost)
    if not config.allow_missing:
        refuse_damaged(plan)
        if lost:
            number = count_of(len(lost), "image is", "images are")
            say(
                f"{number} missing ({reasons_of(lost)}). Restore them and plan again, or plan, "
                "convert and publish with --allow-missing."
            )


def _count(
    plan: Plan,
    config: PrepareConfig,
    data: Path,
    before: dict[int, Document | None],
    say: Say,
) -> int:
    """Return the number of jobs; raise `UsageError` where jobs of another number have begun."""
    candidates = plan.candidates()
    had = {document["jobs"] for document in before.values() if document is not None}
    wanted = config.jobs or max(had, default=max(1, round(candidates.sum() / IMAGES_PER_JOB)))
    jobs = min(wanted, count_jobs(plan, candidates, before))
    if jobs < wanted:
        say(f"There are {count_of(jobs, 'job')}, not {wanted:,}: each has a shard at least.")
    folders = [plan.folder(data, size) for size in before]
    if had and had != {jobs} and any(any(folder.glob(JOB_FILES)) for folder in folders):
        raise UsageError(
            f"{data} has a plan of {count_of(max(had), 'job')}, of which some have begun.",
            f"Go on with those: leave out --jobs {config.jobs}, or run prepare without --plan and "
            "--job, which does all that is missing.",
        )
    return jobs


def complete_job(
    config: PrepareConfig, source: Path, data: Path, number: int, progress: Progress
) -> CompletedJob:
    """Convert the images of one planned job, in any process that sees source and shards.

    Any number of jobs may run at a time, and one may be run twice at a time: shards get their
    names when they are whole, and all write the same bytes. Images whose shards are not complete
    yet lie in the folder for temporary files. An exception of `progress` ends the job, and what is
    done is kept.

    Raises `UsageError` where the jobs are not planned, or with other settings, sources or another
    version of the program, or have not that number.
    """
    plan = plan_preparation(config, source)
    documents = read_plans(plan, config, data)
    if not documents:
        return CompletedJob(number, 0, 0, 0, 0, unchanged=True)
    jobs = _refuse_number(documents, number, config)
    if not plan.streamed.is_certain and not settle_by_plan(plan, next(iter(documents.values()))):
        raise UsageError(
            "The archives, or the files beside them, are not those that the jobs were planned for.",
            f"Restore them, or plan again: {plan_command(config)}",
        )
    shards = shards_of_job(plan, documents, number)
    try:
        fillings = _convert_job(plan, config, data, number, shards, progress)
    except FileNotFoundError:
        if all((plan.folder(data, size) / PLAN).is_file() for size in shards):
            raise
        return CompletedJob(number, 0, 0, 0, 0, unchanged=True)  # published meanwhile
    rows = np.unique(np.concatenate([rows for cut in shards.values() for rows in cut.values()]))
    unreadable = {row for filling in fillings for row in filling.unreadable}
    number_of_shards = sum(map(len, shards.values()))
    return CompletedJob(
        number, jobs, len(rows), number_of_shards, len(unreadable), unchanged=not fillings
    )


def _convert_job(
    plan: Plan,
    config: PrepareConfig,
    data: Path,
    number: int,
    shards: dict[int, Shards],
    progress: Progress,
) -> list[Filling]:
    """Convert the shards of one job, and return those of the sizes that were not complete."""
    with ExitStack() as stack:
        records, fillings = [], []
        for size, own in shards.items():
            folder = plan.folder(data, size)
            stack.enter_context(locked(folder, shared=True))
            sweep(folder)
            record = JobFile(folder, plan.identity(size), number)
            if record.is_complete() and _is_whole(folder, record):
                continue
            kept = keep_planned(folder, plan, recorded_in(folder, plan.identity(size)), own)
            scratch = Path(tempfile.gettempdir())
            filling = Filling(plan, size, folder, kept, scratch, record.save)
            stack.enter_context(filling.scratch.file)
            fillings.append(filling)
            records.append(record)
        if fillings:
            _refuse_full_disks(plan, data, fillings)
            convert(plan, fillings, config.workers, progress, lambda _: None)
        for filling, record in zip(fillings, records, strict=True):
            filling.conclude()
            record.save(filling.done, complete=True)
        return fillings


def _refuse_number(documents: dict[int, Document], number: int, config: PrepareConfig) -> int:
    """Return how many jobs there are; raise where a number is none of theirs."""
    jobs = int(next(iter(documents.values()))["jobs"])
    if not 1 <= number <= jobs:
        numbers = f"1 to {jobs:,}" if jobs > 1 else "1"
        raise UsageError(
            f"--job should be {numbers}, since {count_of(jobs, 'job is', 'jobs are')} planned. "
            f"Found {number}.",
            "An array of a batch system that counts from 0 gives --job its number plus 1.",
        )
    return jobs


def _is_whole(folder: Path, record: JobFile) -> bool:
    """Whether all shards that a job recorded still have their bytes."""
    return all(
        (folder / name).is_file() and sha256_of(folder / name) == entry["sha256"]
        for name, entry in record.entries().items()
    )


def _refuse_full_disks(plan: Plan, data: Path, fillings: list[Filling]) -> None:
    """Raise `UsageError` where shards or temporary files of a job do not fit on a disk."""
    left = {filling.size: int(filling.pending.sum()) for filling in fillings}
    shards = sum(shard_bytes(size, images) for size, images in left.items())
    refuse_little_space("The shards of the job", shards, data, "Make room.")
    refuse_little_space(
        "The temporary files of the job",
        sum(scratch_bytes(plan, size, images) for size, images in left.items()),
        Path(tempfile.gettempdir()),
        "Make room, or name another folder in the environment variable TMPDIR.",
    )

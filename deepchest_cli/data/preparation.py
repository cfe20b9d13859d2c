"""From an NIH folder to a published data set of shards, in parallel, continued where it ended."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.conversion import ShardJob, convert_shard
from deepchest_cli.data.planning import SHOWN, Plan, plan_preparation
from deepchest_cli.data.shard_folder import build_manifest, enter, save_progress, trusted
from deepchest_cli.data.shards import MANIFEST, PROGRESS, shard_name
from deepchest_cli.data.workers import CONTEXT, begin_worker
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import held, write_json

__all__ = ["Preparation", "plan_preparation", "run_preparation"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Preparation:
    """A published data set and whether anything had to be done for it."""

    manifest: dict[str, Any]
    unchanged: bool


def run_preparation(
    plan: Plan, config: PrepareConfig, folder: Path, progress: Progress
) -> Preparation:
    """Convert what is not yet there and publish the manifest; raise, and publish nothing, if images
    are missing or unreadable and that is not allowed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        return _prepare(plan, config, folder, progress)


def _prepare(plan: Plan, config: PrepareConfig, folder: Path, progress: Progress) -> Preparation:
    recorded = enter(folder, plan.identity, config.force)
    published = recorded if (folder / MANIFEST).is_file() else None
    done = trusted(folder, plan, recorded)
    jobs = [job for job in _jobs(plan, folder) if job.path.name not in done]
    if jobs or published is None:
        (folder / MANIFEST).unlink(missing_ok=True)
        save_progress(folder, plan, done)
    for entry in _convert(jobs, config.workers, len(plan.table), progress):
        done[entry["file"]] = entry
        save_progress(folder, plan, done)
    manifest = build_manifest(plan, done)
    if not manifest["counts"]["all"]["images"]:
        raise DeepChestError(
            "None of the images could be found and read; nothing is published.",
            "Check --source: the image files lie in it or in folders below.",
        )
    if manifest["left_out"] and not config.allow_missing:
        save_progress(folder, plan, done)
        (folder / MANIFEST).unlink(missing_ok=True)
        raise _left_out_error(manifest["left_out"])
    if manifest != published or not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, manifest)
    (folder / PROGRESS).unlink(missing_ok=True)
    return Preparation(manifest, unchanged=manifest == published)


def _jobs(plan: Plan, folder: Path) -> Iterator[ShardJob]:
    settings = plan.identity["settings"]
    rows = settings["rows_per_shard"]
    for number, start in enumerate(range(0, len(plan.table), rows)):
        table = plan.table.iloc[start : start + rows]
        boxes = plan.boxes[plan.boxes["image_index"].isin(table["image_index"])]
        yield ShardJob(folder / shard_name(number), settings["size"], table, boxes)


_counter: Any = None


def _begin_worker(counter: Any) -> None:
    global _counter  # noqa: PLW0603  a pool hands shared memory to its workers in no other way
    _counter = counter
    begin_worker()


def _counted(job: ShardJob) -> dict[str, Any]:
    return convert_shard(job, _counter)


def _convert(
    jobs: list[ShardJob], workers: int | None, total: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield the entries of converted shards as they are done, in no order."""
    if not jobs:
        return
    counter = CONTEXT.Value("q", total - sum(len(job.table) for job in jobs))
    count = min(workers or multiprocessing.cpu_count(), len(jobs))
    with ProcessPoolExecutor(count, CONTEXT, _begin_worker, (counter,)) as pool:
        try:
            pending: set[Future[dict[str, Any]]] = {pool.submit(_counted, job) for job in jobs}
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                progress(counter.value, total)
                for future in finished:
                    yield future.result()
        except BaseException:
            # what is under way is written under a temporary name and can be left
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


def _left_out_error(left_out: list[dict[str, str]]) -> DeepChestError:
    listed = "\n".join(f"  {lost['image']}: {lost['reason']}" for lost in left_out[:SHOWN])
    more = f"\n  and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    return DeepChestError(
        f"{len(left_out)} images are missing or unreadable; nothing is published:\n{listed}{more}",
        "Restore them and run the same command again (what is done is kept), "
        "or go on without them: --allow-missing",
    )

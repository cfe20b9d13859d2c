"""From an NIH folder to a published data set of shards, in parallel, continued where it ended."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepchest_cli import __version__
from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.conversion import ShardJob, convert_shard
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.nih import (
    BOX_FILE,
    SPLIT_LISTS,
    find_images,
    find_metadata,
    read_boxes,
    read_metadata,
    read_split_lists,
)
from deepchest_cli.data.radiograph import SUFFIXES
from deepchest_cli.data.shards import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PROGRESS,
    load_json,
    rows_per_shard,
    shard_name,
)
from deepchest_cli.data.splits import PARTS, official_split, random_split
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import sha256_of, write_json

Progress = Callable[[int, int], None]
SHOWN = 5  # names listed in a message before it says how many more there are


@dataclass(frozen=True)
class Plan:
    """What a preparation will do, fixed before anything is decoded."""

    table: pd.DataFrame  # one row per candidate image with `split` and `path`
    boxes: pd.DataFrame
    identity: dict[str, Any]  # source and settings: what makes two preparations the same
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Preparation:
    """A published data set and whether anything had to be done for it."""

    manifest: dict[str, Any]
    unchanged: bool


def plan_preparation(config: PrepareConfig, source: Path) -> Plan:
    """Read tables and lists, draw the split and find the images; nothing is written."""
    metadata_path = find_metadata(source)
    metadata = read_metadata(metadata_path)
    table = metadata.table
    labels = table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    patients = table["patient_id"].to_numpy()
    notes = list(metadata.warnings)
    hashed = [metadata_path]
    if config.split_scheme == "official":
        lists = read_split_lists(source)
        hashed += [source / name for name in SPLIT_LISTS.values()]
        names = list(table["image_index"])
        table["split"] = official_split(
            names, patients, labels, lists, config.validation_fraction, config.seed
        )
        notes += _list_notes(lists, table)
        table = table[table["split"] != ""].reset_index(drop=True)
    else:
        fractions = (config.validation_fraction, config.test_fraction)
        table["split"] = random_split(patients, labels, *fractions, config.seed)
    images = find_images(source, SUFFIXES)
    table["path"] = [str(images.get(name, "")) for name in table["image_index"]]
    surplus = len(images.keys() - set(metadata.table["image_index"]))
    if surplus:
        notes.append(f"{surplus} images have no row in {metadata_path.name} and are not used.")
    if (source / BOX_FILE).is_file():
        hashed.append(source / BOX_FILE)
    return Plan(
        table, read_boxes(source), _identity(config, metadata.label_version, hashed), tuple(notes)
    )


def _list_notes(lists: dict[str, frozenset[str]], table: pd.DataFrame) -> Iterator[str]:
    unlisted = table.loc[table["split"] == "", "image_index"]
    if len(unlisted):
        yield f"{len(unlisted)} images, in neither split list, are left out: {_few(unlisted)}."
    rowless = len((lists["train_val"] | lists["test"]) - set(table["image_index"]))
    if rowless:
        yield f"{rowless} names of the split lists have no row in the metadata."


def _few(names: Any) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _identity(config: PrepareConfig, label_version: str, hashed: list[Path]) -> dict[str, Any]:
    official = config.split_scheme == "official"
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "findings": list(FINDINGS),
        "source": {
            "kind": "nih",
            "label_version": label_version,
            "synthetic": config.demo,
            "sha256": {path.name: sha256_of(path) for path in hashed},
        },
        "settings": {
            "size": config.size,
            "aspect": "squash",
            "resampling": "bilinear, antialiased",
            "split_scheme": config.split_scheme,
            "validation_fraction": config.validation_fraction,
            "test_fraction": None if official else config.test_fraction,
            "seed": config.seed,
        },
    }


def run_preparation(
    plan: Plan, config: PrepareConfig, folder: Path, progress: Progress
) -> Preparation:
    """Convert what is not yet there and publish the manifest; raise, and publish nothing, if images
    are missing or unreadable and that is not allowed.
    """
    published = _enter(folder, plan.identity, config.force)
    done = _trusted(folder, plan)
    jobs = [job for job in _jobs(plan, folder) if job.path.name not in done]
    if jobs or published is None:
        (folder / MANIFEST).unlink(missing_ok=True)
        _save_progress(folder, plan, done)
    for entry in _convert(jobs, config.workers, len(plan.table), progress):
        done[entry["file"]] = entry
        _save_progress(folder, plan, done)
    manifest = _manifest(plan, [done[name] for name in sorted(done)])
    _refuse_left_out(manifest["left_out"], config.allow_missing)
    if manifest != published or not (folder / MANIFEST).exists():
        write_json(folder / MANIFEST, manifest)
    (folder / PROGRESS).unlink(missing_ok=True)
    return Preparation(manifest, unchanged=manifest == published)


def _enter(folder: Path, identity: dict[str, Any], force: bool) -> dict[str, Any] | None:
    """Make the folder, or accept it when it holds the same preparation; return its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.glob(".*.tmp"):  # by a process that was killed while writing
        left_behind.unlink()
    for name in (MANIFEST, PROGRESS):
        path = folder / name
        if not path.is_file():
            continue
        found = load_json(path)
        if {key: found.get(key) for key in identity} == identity:
            return found if name == MANIFEST else None
        if not force:
            raise UsageError(
                f"{folder} holds data prepared from {_difference(found, identity)}.",
                "Choose another folder with --data, or replace it with --force.",
            )
        _clear(folder)
        return None
    strangers = [path.name for path in folder.iterdir()]
    if strangers and not force:
        raise UsageError(
            f"{folder} exists and holds other files ({_few(sorted(strangers))}).",
            "Choose an empty folder with --data.",
        )
    return None


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say which settings differ, in the words of the flags."""
    for section in ("settings", "source"):
        before, now = found.get(section, {}), wanted[section]
        if isinstance(before, dict):
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                pairs = [f"{key} {before.get(key)!r}, not {now[key]!r}" for key in changed]
                return "other sources" if "sha256" in changed else f"{section} {'; '.join(pairs)}"
    return "another format"


def _clear(folder: Path) -> None:
    """Remove what a preparation writes, the manifest first, and nothing else."""
    for name in (MANIFEST, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("shard-*.h5"):
        path.unlink()


def _trusted(folder: Path, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the entries of shards whose bytes are those that were recorded.

    A shard that lacks an image which is there now is done again.
    """
    records: list[dict[str, Any]] = []
    for name in (MANIFEST, PROGRESS):
        if (folder / name).is_file():
            records = load_json(folder / name)["shards"]
            break
    there = set(plan.table.loc[plan.table["path"] != "", "image_index"])
    return {
        entry["file"]: entry
        for entry in records
        if (folder / entry["file"]).is_file()
        and not any(lost["image"] in there for lost in entry["left_out"])
        and sha256_of(folder / entry["file"]) == entry["sha256"]
    }


def _jobs(plan: Plan, folder: Path) -> Iterator[ShardJob]:
    size = plan.identity["settings"]["size"]
    rows = rows_per_shard(size)
    for number, start in enumerate(range(0, len(plan.table), rows)):
        table = plan.table.iloc[start : start + rows]
        boxes = plan.boxes[plan.boxes["image_index"].isin(table["image_index"])]
        yield ShardJob(folder / shard_name(number), size, table, boxes)


_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter  # noqa: PLW0603  a pool hands shared memory to its workers in no other way
    _counter = counter
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _counted(job: ShardJob) -> dict[str, Any]:
    return convert_shard(job, _counter)


def _convert(
    jobs: list[ShardJob], workers: int | None, total: int, progress: Progress
) -> Iterator[dict[str, Any]]:
    """Yield the entries of converted shards as they are done, in no order."""
    if not jobs:
        return
    # a fresh interpreter: forking a process that has run threads can deadlock
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", total - sum(len(job.table) for job in jobs))
    count = min(workers or multiprocessing.cpu_count(), len(jobs))
    with ProcessPoolExecutor(count, context, _start_worker, (counter,)) as pool:
        try:
            pending: set[Future[dict[str, Any]]] = {pool.submit(_counted, job) for job in jobs}
            while pending:
                finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                progress(counter.value, total)
                for future in finished:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _save_progress(folder: Path, plan: Plan, done: dict[str, dict[str, Any]]) -> None:
    write_json(
        folder / PROGRESS, {**plan.identity, "shards": [done[name] for name in sorted(done)]}
    )


def _manifest(plan: Plan, shards: list[dict[str, Any]]) -> dict[str, Any]:
    left_out = [lost for shard in shards for lost in shard["left_out"]]
    lost_names = {lost["image"] for lost in left_out}
    kept = plan.table[~plan.table["image_index"].isin(lost_names)]
    return {
        **plan.identity,
        "written_by": f"deepchest {__version__}",
        "counts": _counts(kept),
        "left_out": left_out,
        "shards": shards,
    }


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    """Return images, patients and positives per finding, in each part and in all."""
    parts = {part: table[table["split"] == part] for part in PARTS} | {"all": table}
    return {
        part: {
            "images": len(rows),
            "patients": int(rows["patient_id"].nunique()),
            "no_finding": int((rows[list(FINDINGS)].sum(axis=1) == 0).sum()),
            "positives": {finding: int(rows[finding].sum()) for finding in FINDINGS},
        }
        for part, rows in parts.items()
    }


def _refuse_left_out(left_out: list[dict[str, str]], allowed: bool) -> None:
    if left_out and not allowed:
        listed = "\n".join(f"  {lost['image']}: {lost['reason']}" for lost in left_out[:SHOWN])
        more = f"\n  and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        raise DeepChestError(
            f"{len(left_out)} images are missing or unreadable; nothing was published:\n"
            f"{listed}{more}",
            "Restore them and run the same command again (what is done is kept), "
            "or go on without them: --allow-missing",
        )

"""The folder of a data set while it is made: what may be used, kept, replaced and published."""

import csv
import io
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli import __version__
from deepchest_cli.data.preparation.planning import Plan
from deepchest_cli.data.shards import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    PLAN,
    PROGRESS,
    READABLE_VERSIONS,
    load_json,
)
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import SHOWN, few
from deepchest_cli.engines.session import FOLDER as SESSION
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of, sweep, write_json, write_text

EXCLUDED = "excluded.csv"
EXCLUDED_COLUMNS = ("image", "reason")
SHEET = "contact-sheet.png"
JOB_FILES = "preparation-job-*.json"  # the progress of each job
OWN_FILES = ("shard-*.h5", MANIFEST, PROGRESS, PLAN, JOB_FILES, SHEET, EXCLUDED)
Entries = dict[str, dict[str, Any]]  # a shard's file name to its entry in the manifest


def summarize(folder: Path, excluded: Mapping[str, str]) -> dict[str, Any]:
    """Write the file, or remove it where no image is excluded; return what the manifest says.

    excluded: image to reason, in the order of the table.
    """
    path = folder / EXCLUDED
    if not excluded:
        path.unlink(missing_ok=True)
        return {"images": 0, "reasons": {}, "first": [], "file": None, "sha256": None}
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([EXCLUDED_COLUMNS, *excluded.items()])
    if not path.is_file() or path.read_bytes() != text.getvalue().encode():
        write_text(path, text.getvalue())
    return {
        "images": len(excluded),
        "reasons": dict(Counter(excluded.values()).most_common()),
        "first": list(excluded)[:SHOWN],
        "file": EXCLUDED,
        "sha256": sha256_of(path),
    }


def read_excluded(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """Return image and reason of each excluded image; None where that is not known any more."""
    summary = manifest.get("excluded")
    if summary is None:
        return None
    if not summary["images"]:
        return {}
    path = folder / EXCLUDED
    if not path.is_file() or sha256_of(path) != summary["sha256"]:
        return None
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    return {row["image"]: row["reason"] for row in rows}


def enter(folder: Path, identity: dict[str, Any], force: bool) -> dict[str, Any] | None:
    """Accept an empty folder or one with the same preparation; return what it has recorded."""
    sweep(folder)
    for name in (MANIFEST, PROGRESS, PLAN):
        path = folder / name
        if not path.is_file():
            continue
        found = _load(path, force)
        if is_same(found, identity):
            return found if name == MANIFEST else _with_jobs(folder, found, identity)
        if not force:
            _refuse_older_format(folder, found)
            raise UsageError(
                f"{folder} holds data prepared from {difference(found, identity)}.",
                "Choose another folder with --data, or replace it with --force.",
            )
        (folder / MANIFEST).unlink(missing_ok=True)  # first
        remove_progress(folder)
        for written in (SHEET, EXCLUDED):
            (folder / written).unlink(missing_ok=True)
        clear_shards(folder, {})
        return None
    left_behind = set(_half_written(folder))
    strangers = [path.name for path in folder.iterdir() if path not in left_behind]
    if strangers and not force:
        raise UsageError(
            f"{folder} exists and holds other files ({few(sorted(strangers))}).",
            "Choose an empty folder with --data.",
        )
    return None


def is_same(found: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """Whether a document is of the preparation of that source with those settings."""
    return {key: found.get(key) for key in identity} == identity


def recorded_in(folder: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return what an earlier preparation of the same has recorded; None where there is nothing."""
    for name in (MANIFEST, PROGRESS):
        if (folder / name).is_file():
            try:
                found = load_json(folder / name)
            except UsageError:
                return None  # damaged: it will be said, or replaced
            if is_same(found, identity):
                return found if name == MANIFEST else _with_jobs(folder, found, identity)
    return None


def _with_jobs(folder: Path, found: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """Add the shards that jobs have recorded."""
    entries = entries_of(found)
    for path in sorted(folder.glob(JOB_FILES)):
        with suppress(UsageError, FileNotFoundError):  # damaged: its shards are made again
            job = load_json(path)
            if is_same(job, identity):
                entries |= entries_of(job)
    return {**found, "shards": list(entries.values())}


def entries_of(document: Mapping[str, Any]) -> Entries:
    """Return the shards of a manifest or of recorded progress."""
    return {entry["file"]: entry for entry in document["shards"]}


def remove_progress(folder: Path) -> None:
    """Remove what a preparation that is published, or replaced, has no use for.

    That includes files that processes of other machines have half-written. A job that still runs
    there has been completed by another process, and ends when it finds no plan.
    """
    shutil.rmtree(folder / SESSION, ignore_errors=True)  # of a driver that was killed
    for path in (folder / PLAN, *folder.glob(JOB_FILES), folder / PROGRESS, *_half_written(folder)):
        path.unlink(missing_ok=True)


def _half_written(folder: Path) -> Iterator[Path]:
    for name in OWN_FILES:
        yield from folder.glob(f".{name}.*.tmp")


def _load(path: Path, force: bool) -> dict[str, Any]:
    """Return a manifest; a damaged one counts as another preparation when it may be replaced."""
    try:
        return load_json(path)
    except UsageError as error:
        if force:
            return {}
        raise UsageError(error.message, "Replace the data with --force.") from error


def _refuse_older_format(folder: Path, found: dict[str, Any]) -> None:
    version = found.get("format_version")
    if found.get("format") == FORMAT and version in READABLE_VERSIONS[:-1]:
        raise UsageError(
            f"{folder} holds data of format {version}, which version 0.1 wrote; they can still be "
            f"used as they are, and a new preparation would have format {FORMAT_VERSION}.",
            "Choose another folder with --data, or replace it with --force.",
        )


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say which settings differ, in the words of the flags."""
    for section in ("settings", "source"):
        before, now = found.get(section, {}), wanted[section]
        if isinstance(before, dict):
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                pairs = [f"{key} {before.get(key)!r}, not {now[key]!r}" for key in changed]
                if {"sha256", "rows_sha256"} & set(changed):
                    return "other sources, or with other flags about them"
                return f"{section} {'; '.join(pairs)}"
    return "another format"


def clear_shards(folder: Path, kept: Entries) -> None:
    """Remove the shards that are not to be kept."""
    for path in folder.glob(f"shard-{'[0-9]' * 5}.h5"):
        if path.name not in kept:
            path.unlink()


def archives_of(plan: Plan) -> dict[str, int]:
    """Return the bytes of each archive that is read from beginning to end, by its path."""
    return {name: path.stat().st_size for name, path in archive_paths(plan).items()}


def archive_paths(plan: Plan) -> dict[str, Path]:
    """Return those archives by the names that documents have for them."""
    return {plan.images.name_of(stream): stream.path for stream in plan.images.streams}


def save_progress(path: Path, identity: dict[str, Any], done: Entries) -> None:
    """Record which shards are done, so that an interrupted preparation continues."""
    write_json(path, {**identity, "shards": [done[name] for name in sorted(done)]})


def build_manifest(
    plan: Plan,
    size: int,
    done: Entries,
    excluded: dict[str, Any],
    counts: dict[str, Any],
    duplicates: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the manifest of a finished preparation of one size; counts: by split."""
    return {
        **plan.identity(size),
        "written_by": f"deepchest {__version__}",
        "archives": archives_of(plan),
        "damaged_archives": list(plan.streamed.damaged),
        "counts": counts,
        "excluded": excluded,
        "duplicates": duplicates,
        "shards": [done[name] for name in sorted(done)],
    }


def count_splits(plan: Plan, kept: NDArray[np.bool_]) -> dict[str, Any]:
    """Return images, patients, positives and known labels of kept rows (N,), by split."""
    chosen = {split: kept & (plan.splits == split) for split in SPLITS} | {"all": kept}
    return {split: _count(plan, rows) for split, rows in chosen.items()}


def _count(plan: Plan, rows: NDArray[np.bool_]) -> dict[str, Any]:
    labels, known = plan.source.labels[rows], plan.source.known[rows]
    names = plan.source.findings
    return {
        "images": int(rows.sum()),
        "patients": int(plan.table["patient_id"][rows].nunique()),
        "no_finding": int((~labels.any(axis=1) & known.all(axis=1)).sum()),
        "positives": dict(zip(names, labels.sum(axis=0).tolist(), strict=True)),
        "known": dict(zip(names, known.sum(axis=0).tolist(), strict=True)),
    }

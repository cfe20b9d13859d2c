"""What the folder of a run with folds says: which of them are done, and the out-of-fold AUROC."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.listing.entry import (
    Contents,
    Entry,
    RunCounts,
    State,
    open_file,
    resume_of,
)
from deepchest_cli.files import is_locked
from deepchest_cli.model.checkpoint_format import BEST
from deepchest_cli.model.fold_runs import PREDICTIONS, RESULTS, fold_folders


def with_fold_states(
    entry: Entry, folds: int, values: Mapping[str, Any], contents: Contents
) -> Entry:
    """Return the entry of a run with folds, given what it has whatever its state."""
    folders = fold_folders(entry.path, folds)
    done = [path for path in folders if (path / PREDICTIONS).is_file()]
    without = [path.name for path in done if not (path / BEST).is_file()]
    counted = replace(entry, runs=RunCounts(len(done), 0, folds), epochs=None)
    try:
        auroc = _out_of_fold_auroc(entry.path) if RESULTS in contents.files else None
    except (ValueError, KeyError, TypeError) as error:
        return replace(counted, state="damaged", reason=f"{RESULTS} is damaged: {error}.")
    if without:
        return replace(counted, state="damaged", reason=f"{without[0]}/{BEST} is missing.")
    has_ended = len(done) == folds and RESULTS in contents.files
    state: State = "finished" if has_ended else "interrupted"
    if any(path.is_dir() and is_locked(path) for path in (entry.path, *folders)):
        state = "running"
    resume = resume_of("train", entry.path, values, entry.version)
    return replace(
        counted,
        state=state,
        macro_auroc=auroc,
        resume=resume if state == "interrupted" else None,
        model=entry.path if len(done) == folds else None,
    )


def _out_of_fold_auroc(folder: Path) -> float | None:
    try:
        with open_file(folder / RESULTS) as file:
            value = json.load(file)["macro"]["auroc"]
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    return None if value is None else float(value)

"""`deepchest runs`: which runs and comparisons there are, how good they are, and how to go on."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.next_steps import evaluation_command
from deepchest_cli.config import RunsConfig
from deepchest_cli.data.text import count_of, few, printable, size_of
from deepchest_cli.reporting.numbers import UNDEFINED, number
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.comparison.listing.entry import Entry

COLUMNS = (
    "name", "state", "AUROC", "weighter", "backbone", "epochs", "data", "size", "started",
)  # fmt: skip
SIDES, ESSENTIAL = "llrllrlrl", 3
LEGEND = (
    "AUROC: the mean over findings on the validation split, at the best epoch; of a comparison, "
    "the mean over the seeds of its best weighter; of a run with folds, that of the out-of-fold "
    "predictions."
)
ORDERS: dict[str, Callable[["Entry"], float]] = {
    "newest": lambda entry: entry.started.timestamp(),
    "auroc": lambda entry: -math.inf if entry.macro_auroc is None else entry.macro_auroc,
    "size": lambda entry: entry.size,
}


def runs(config: RunsConfig, terminal: Terminal) -> None:
    """List runs and comparisons: state, macro AUROC, weighter, data, size.

    A run is running while a process works on it, and interrupted where none
    does and it has not finished. A comparison or a run with folds is one
    line; --verbose also lists its runs, why a run is damaged, and folders that hold none.

    Examples:  deepchest runs

    deepchest runs --sort auroc

    deepchest runs --sort size /scratch/runs comparisons/mine

    deepchest runs --json
    """
    from deepchest_cli.comparison.listing.search import DEFAULT_FOLDERS, list_runs

    listing = list_runs([Path(name) for name in config.folders], own_runs=terminal.verbose)
    entries = sorted(listing.entries, key=ORDERS[config.sort], reverse=True)
    if listing.unreadable:
        unreadable = listing.unreadable.items()
        named = few(f"{printable(str(path))} ({reason})" for path, reason in unreadable)
        terminal.warning(f"Not readable, and not listed in full: {named}.")
    if terminal.json:
        terminal.document({"runs": [_document(entry) for entry in entries]})
        return
    if entries:
        terminal.table(COLUMNS, _rows(entries), SIDES, ESSENTIAL)
        terminal.note(LEGEND)
    terminal.note(_summary(entries, config.folders or map(str, DEFAULT_FOLDERS)))
    for path in listing.passed_over:
        terminal.detail(f"{printable(str(path))} holds no run.")
    for entry in entries:
        for one in (entry, *entry.own_runs):
            if one.reason:
                terminal.detail(f"{printable(str(one.path))}: {one.state}. {printable(one.reason)}")
    if step := _next_step(entries):
        terminal.next_step(step)


def _rows(entries: Sequence["Entry"]) -> list[list[str]]:
    return [_row(one) for entry in entries for one in (entry, *entry.own_runs)]


def _row(entry: "Entry") -> list[str]:
    name = str(entry.path)
    if entry.is_latest:
        name += " (latest)"
    if entry.kind == "comparison" and entry.weighters:
        name += f" ({count_of(len(entry.weighters), 'weighter')})"
    cells = [
        name,
        entry.state,
        number(entry.macro_auroc, 4),
        entry.weighter or UNDEFINED,
        entry.backbone or UNDEFINED,
        _progress(entry),
        ", ".join(Path(folder).name for folder in entry.data) or UNDEFINED,
        size_of(entry.size),
        f"{entry.started:%Y-%m-%d %H:%M}",
    ]
    return [printable(cell) for cell in cells]


def _progress(entry: "Entry") -> str:
    """Return how many epochs of a run, or runs of a comparison, have ended, of how many."""
    if entry.runs is not None:
        planned = "?" if entry.runs.planned is None else entry.runs.planned
        kind = "folds" if entry.kind == "run" else "runs"
        return f"{entry.runs.finished + entry.runs.failed}/{planned} {kind}"
    if entry.epochs is None or entry.planned_epochs is None:
        return UNDEFINED
    return f"{entry.epochs}/{entry.planned_epochs}"


def _summary(entries: Sequence["Entry"], folders: Iterable[str]) -> str:
    if not entries:
        return f"No run was found below {' and '.join(map(printable, folders))}."
    kinds = [entry.kind for entry in entries]
    counts = [count_of(kinds.count(kind), kind) for kind in ("run", "comparison") if kind in kinds]
    states = [entry.state for entry in entries]
    unfinished = sorted({state for state in states if state != "finished"}, key=states.index)
    listed = ", ".join(f"{states.count(state)} {state}" for state in unfinished)
    size = size_of(sum(entry.size for entry in entries))
    return f"{' and '.join(counts)}, {size}{': ' if listed else ''}{listed}."


def _next_step(entries: Sequence["Entry"]) -> str | None:
    """Return the command that goes on with what was interrupted last, else evaluates the best.

    None where all that there is runs, or is damaged.
    """
    if not entries:
        return "deepchest train"
    named = [entry for entry in entries if str(entry.path).isprintable()]
    newest = sorted(named, key=ORDERS["newest"], reverse=True)
    resumed = [e.resume for e in newest if e.resume and e.state == "interrupted"]
    finished = [entry for entry in named if entry.model and entry.state == "finished"]
    best = max(finished, key=ORDERS["auroc"], default=None)
    if resumed or best is None or best.model is None:
        return next(iter(resumed), None)
    return evaluation_command(best.model, best.backbone or "")


def _document(entry: "Entry") -> dict[str, Any]:
    """Return an entry in plain values; a comparison's own runs only where they were read."""
    return {
        "kind": entry.kind,
        "path": str(entry.path),
        "state": entry.state,
        "reason": entry.reason,
        "started": entry.started.isoformat(),
        "bytes": entry.size,
        "latest": entry.is_latest,
        "deepchest": entry.version,
        "weighter": entry.weighter,
        "weighters": list(entry.weighters),
        "backbone": entry.backbone,
        "data": list(entry.data),
        "epochs": entry.epochs,
        "planned_epochs": entry.planned_epochs,
        "best_epoch": entry.best_epoch,
        "macro_auroc": entry.macro_auroc,
        "runs": None if entry.runs is None else asdict(entry.runs),
        "own_runs": [_document(run) for run in entry.own_runs],
        "resume": entry.resume,
        "model": None if entry.model is None else str(entry.model),
    }

"""What the folder of a comparison says: how many runs have ended, and which weighter is ahead."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from deepchest_cli.comparison.listing.entry import (
    Contents,
    Entry,
    RunCounts,
    State,
    begun,
    setting,
)
from deepchest_cli.comparison.listing.progress import RunProgress, read_progress
from deepchest_cli.comparison.listing.runs import OF_COMPARISON, resume_comparison
from deepchest_cli.comparison.running.attempts import attempts_at
from deepchest_cli.comparison.running.jobs import (
    LEARNING_RATE_FACTORS,
    RESULTS,
    RUNS,
    SINGLE_TASK,
    Arm,
    parse_arms,
)
from deepchest_cli.comparison.running.records import RunRecord, read_record
from deepchest_cli.config import RUN_CONFIG
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import is_locked

RATE = "-rate-"  # before the learning rate in a folder's name


@dataclass(frozen=True)
class OwnRun:
    """A run of a comparison that has begun."""

    folder: Path  # its place, or that of its newest attempt
    record: RunRecord | None  # None: it has not ended
    progress: RunProgress
    is_running: bool

    @property
    def macro_auroc(self) -> float | None:
        """On the validation split; None unless it has finished."""
        is_finished = self.record is not None and self.record.status == "finished"
        return self.progress.macro_auroc if is_finished else None

    @property
    def score(self) -> float:
        """The same for those that have one."""
        return self.macro_auroc or 0.0


def read_comparison(folder: Path, values: Mapping[str, Any], contents: Contents) -> Entry:
    """Return the entry of a comparison with a configuration. What is damaged is named in it."""
    entry = begun("comparison", folder, values, contents)
    try:
        arms = parse_arms(str(values["weighters"]))
        entry = replace(entry, weighters=tuple(arm.label for arm in arms))
        of_arms = {arm.label: list(_own_runs(folder / RUNS / arm.folder)) for arm in arms}
        alone = [run for path in _folders(folder / SINGLE_TASK) for run in _own_runs(path)]
        runs = [*(run for several in of_arms.values() for run in several), *alone]
        counts = _counts(values, arms, runs)
        state, reason = _state(folder, contents, counts, runs)
        unfinished = state in ("interrupted", "planned", "failed")
        resume = resume_comparison(folder, values, entry.version) if unfinished else None
    except (ValueError, DeepChestError) as error:
        return replace(entry, state="damaged", reason=str(error))
    entry = replace(entry, state=state, reason=reason, runs=counts, resume=resume)
    return _with_best(entry, of_arms)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _own_runs(folder: Path) -> Iterator[OwnRun]:
    """Yield the runs of an arm, or of a finding alone. Raises `ValueError` for damaged ones."""
    names = [match for path in _folders(folder) if (match := OF_COMPARISON.fullmatch(path.name))]
    for name in sorted({match["run"] for match in names}):
        place = folder / name
        current = place if place.is_dir() else attempts_at(place)[-1]
        try:
            record, progress = read_record(current), read_progress(current)
        except ValueError as error:
            raise ValueError(f"{folder.name}/{current.name}: {error}") from error
        yield OwnRun(current, record, progress, is_locked(current))


def _counts(values: Mapping[str, Any], arms: Sequence[Arm], runs: Sequence[OwnRun]) -> RunCounts:
    statuses = [run.record.status for run in runs if run.record is not None]
    finished = statuses.count("finished")
    findings = max((run.progress.findings for run in runs), default=0)
    planned = _planned(values, len(arms), findings)
    return RunCounts(finished, len(statuses) - finished, planned)


def _planned(values: Mapping[str, Any], arms: int, findings: int) -> int | None:
    """Return how many runs a comparison has; None where the number of findings is not known."""
    seeds, folds = setting(values, "seeds", int), setting(values, "folds", int)
    if seeds is None:
        raise ValueError(f"{RUN_CONFIG} has no number of seeds.")
    each: int = seeds * (folds or 1)
    total = arms * each
    if values.get("tune_learning_rate"):
        # without folds the one at the best rate is that of the first seed
        total += arms * (len(LEARNING_RATE_FACTORS) - (folds is None))
    if values.get("single_task"):
        return total + findings * each if findings else None
    return total


def _state(
    folder: Path, contents: Contents, counts: RunCounts, runs: Sequence[OwnRun]
) -> tuple[State, str | None]:
    """Return the state of a comparison, and the first error where it has failed."""
    if is_locked(folder) or any(run.is_running for run in runs):
        return "running", None
    if not runs:
        return "planned", None
    if counts.planned is None or counts.finished + counts.failed < counts.planned:
        return "interrupted", None
    if RESULTS in contents.files:
        return "finished", None
    if counts.finished:
        return "interrupted", None
    return "failed", next(run.record.error for run in runs if run.record is not None)


def _with_best(entry: Entry, of_arms: Mapping[str, Sequence[OwnRun]]) -> Entry:
    """Return the entry with the weighter whose finished runs are best on the validation split."""
    best = {label: kept for label, runs in of_arms.items() if (kept := _at_one_rate(runs))}
    if not best:
        return entry
    means = {label: fmean(run.score for run in runs) for label, runs in best.items()}
    label = max(means, key=lambda name: means[name])
    model = max(best[label], key=lambda run: run.score).folder
    return replace(entry, weighter=label, macro_auroc=means[label], model=model)


def _at_one_rate(runs: Sequence[OwnRun]) -> list[OwnRun]:
    """Return the finished runs of an arm at the learning rate that was chosen for it.

    It is the one that most of the runs have; while it is being chosen, the best.
    """
    by_rate: dict[str, list[OwnRun]] = defaultdict(list)
    for run in runs:
        if run.macro_auroc is not None:
            by_rate[run.folder.name.partition(RATE)[2]].append(run)
    if not by_rate:
        return []
    return max(by_rate.values(), key=lambda some: (len(some), fmean(run.score for run in some)))

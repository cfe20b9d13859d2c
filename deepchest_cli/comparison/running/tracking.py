"""The records that trackers keep of a comparison: one of its own, and one for each of its runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import RunRecord
from deepchest_cli.config import CompareConfig
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.tracking.base import (
    Destinations,
    Group,
    GroupTracking,
    Outcome,
    Subject,
)
from deepchest_cli.training.tracking.content import configuration
from deepchest_cli.training.tracking.observer import Records, Tracking, closing, explained
from deepchest_cli.training.tracking.registry import TRACKERS


def begin_tracking(
    config: CompareConfig, folder: Path, destinations: Destinations
) -> GroupTracking | None:
    """Begin the comparison's own records where those of its runs need them; None: no trackers.

    The folder has its configuration. Raises `DeepChestError` where a tracker fails.
    """
    if not config.track:
        return None
    names: tuple[str, ...] = tuple(dict.fromkeys(config.track))
    subject, records = subject_of(folder), Records(folder)
    for name in names:
        kind = TRACKERS[name]
        if kind.has_parents and records.of(name, destinations) is None:
            with explained(name):
                records.note(name, kind(subject, destinations, None))
    return found_tracking(config, folder, destinations)


def found_tracking(
    config: CompareConfig, folder: Path, destinations: Destinations
) -> GroupTracking | None:
    """Return the same without beginning a record: several processes may be at it."""
    if not config.track:
        return None
    records = Records(folder)
    names: tuple[str, ...] = tuple(dict.fromkeys(config.track))
    found = {name: records.of(name, destinations) for name in names}
    parents = {name: record.identifier for name, record in found.items() if record is not None}
    return GroupTracking(names, destinations, Group(subject_of(folder).name, parents))


@contextmanager
def left_unfinished(tracking: GroupTracking | None, folder: Path) -> Iterator[None]:
    """Let the comparison's own records say so where an error ends the block."""
    try:
        yield
    except BaseException:
        if tracking is not None:
            for name in tracking.group.parents:
                with suppress(Exception):
                    _interrupt(name, folder, tracking.destinations)
        raise


def _interrupt(name: str, folder: Path, destinations: Destinations) -> None:
    record = Records(folder).of(name, destinations)
    if record is not None and not record.content and TRACKERS[name].has_parents:
        TRACKERS[name](subject_of(folder), destinations, record).close("interrupted")


def subject_of(folder: Path) -> Subject:
    """Return a comparison as the subject of a record."""
    return Subject(folder.absolute().name, folder, configuration(folder), kind="comparison")


@contextmanager
def tracked(job: Job, warn: Callable[[str], None]) -> Iterator[list[Observer]]:
    """Yield the observer that logs a run of a comparison; none without trackers.

    A tracker that fails at once ends no run either.
    """
    if job.tracking is None:
        yield []
        return
    with closing(_tracking_of(job, job.tracking, job.tracking.trackers, warn)) as log:
        yield [log]


def _tracking_of(
    job: Job, tracking: GroupTracking, names: Sequence[str], warn: Callable[[str], None]
) -> Tracking:
    return Tracking(job.folder, names, tracking.destinations, job.name, tracking.group, warn)


def log_missing(
    runs: Sequence[tuple[Job, RunRecord]], tracking: GroupTracking, warn: Callable[[str], None]
) -> list[str]:
    """Log what trackers lack of runs that have ended; return the trackers that work."""
    names = list(tracking.trackers)
    for job, record in runs:
        if not record.is_final:
            continue
        log = _tracking_of(job, tracking, names, warn)
        outcome: Outcome = "finished" if record.status == "finished" else "failed"
        log.close(outcome)
        names = [name for name in names if name not in log.failed]
    return names

"""The one observer of all trackers: it logs what the folder of a run has and a tracker lacks."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.training.progress import EpochReport, Observer
from deepchest_cli.training.tracking.base import (
    Destinations,
    Group,
    Outcome,
    Subject,
    Tracker,
)
from deepchest_cli.training.tracking.content import configuration, epochs, files
from deepchest_cli.training.tracking.records import Record, read_records, reason_of, write_records
from deepchest_cli.training.tracking.registry import TRACKERS

WAIT: Mapping[Outcome, float] = {"finished": 360, "interrupted": 10, "failed": 60}  # seconds
END = 2**31  # of a run: all its epochs

Warn = Callable[[str], None]
Log = TypeVar("Log", "Tracking", Tracker)


class Tracking(Observer):
    """Logs a run with several trackers, each in a thread of its own.

    Whatever happens to a tracker, training neither waits for it nor ends: its first failure is
    said, once, and what it lacks is tried again with each epoch, at the end, and on resume.
    """

    def __init__(
        self,
        folder: Path,
        trackers: Sequence[str],
        destinations: Destinations,
        name: str | None = None,
        group: Group | None = None,
        warn: Warn = lambda _: None,
    ) -> None:
        """name: of the run, by default that of its folder. warn: receives a tracker's failure."""
        self.subject = Subject(name or folder.absolute().name, folder, configuration(folder), group)
        self.destinations, self.warn = destinations, warn
        records = Records(folder)
        self.logs = [
            _Log(name, self.subject, destinations, records) for name in dict.fromkeys(trackers)
        ]

    def open(self) -> None:
        """Open the records that are not complete; raise `DeepChestError` where one fails."""
        try:
            for log in self.logs:
                with explained(log.name):
                    log.open_unless_finished()
        except DeepChestError:
            for log in self.logs:
                log.release()
            raise

    @property
    def failed(self) -> list[str]:
        """The trackers that have failed."""
        return [log.name for log in self.logs if log.failure is not None]

    def on_epoch(self, report: EpochReport) -> None:
        """Let the trackers log what they lack up to this epoch, which the folder has by now."""
        for log in self.logs:
            log.request(report.epoch)
        self._say()

    def close(self, outcome: Outcome) -> None:
        """Let the trackers log the rest, and wait for them, but not forever."""
        for log in self.logs:
            log.request(END, outcome)
        deadline = time.monotonic() + WAIT[outcome]
        for log in self.logs:
            log.wait(max(0.0, deadline - time.monotonic()))
        self._say()

    def _say(self) -> None:
        for log in self.logs:
            if (failure := log.news()) is not None:
                self.warn(
                    f"{log.kind.title} has failed: {failure}. The run goes on; what is missing "
                    "there is tried again with each epoch, at the end, and on --resume."
                )


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise `DeepChestError` where a tracker fails before anything is trained."""
    try:
        yield
    except Exception as error:
        raise DeepChestError(
            f"{TRACKERS[name].title} cannot begin a record: {reason_of(error)}.",
            f"Mend that, or go on without --track {name}.",
        ) from error


class Records:
    """The records of a run or a comparison in its folder; threads of several trackers write."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, Lock()
        self.found = read_records(folder)

    def of(self, name: str, destinations: Destinations) -> Record | None:
        """Return the earlier record in the store that a tracker writes now."""
        found = self.found.get(name)
        if found is None or found.place != TRACKERS[name].store(destinations, found):
            return None
        return found

    def note(self, name: str, tracker: Tracker, content: str = "") -> None:
        """Write down how far a tracker's record reaches."""
        with self.lock:
            self.found[name] = Record(tracker.identifier, tracker.place, tracker.step, content)
            write_records(self.folder, self.found)


class _Log:
    """A tracker's record of a run, and the thread that writes it."""

    def __init__(
        self, name: str, subject: Subject, destinations: Destinations, records: Records
    ) -> None:
        self.name, self.kind, self.subject = name, TRACKERS[name], subject
        self.destinations, self.records = destinations, records
        self.tracker: Tracker | None = None
        self.failure: str | None = None
        self.is_said = False
        self.requests: SimpleQueue[tuple[int, Outcome | None]] = SimpleQueue()
        # a daemon: a server that never answers keeps no process alive
        self.thread = Thread(target=self._work, name=f"tracker-{name}", daemon=True)

    @property
    def record(self) -> Record | None:
        """The earlier record of the run in the store that is written now."""
        return self.records.of(self.name, self.destinations)

    def open_unless_finished(self) -> None:
        if self.record is None or self.record.content != "finished":
            self._open()

    def request(self, epoch: int, outcome: Outcome | None = None) -> None:
        """Ask for all that is missing up to an epoch; with an outcome, for the end of the run."""
        if self.thread.ident is None:
            self.thread.start()
        self.requests.put((epoch, outcome))

    def wait(self, seconds: float) -> None:
        self.thread.join(seconds)
        if self.thread.is_alive():
            self.failure = self.failure or "it does not answer"

    def news(self) -> str | None:
        """Return the first failure, once."""
        if self.failure is None or self.is_said:
            return None
        self.is_said = True
        return self.failure

    def _work(self) -> None:
        outcome = None
        while outcome is None:
            epoch, outcome = self.requests.get()
            while not self.requests.empty():  # the last request covers those before it
                epoch, outcome = self.requests.get()
            try:
                self._log(epoch, outcome)
            except (Exception, SystemExit) as error:  # what its package ends is not the run
                self.failure = self.failure or reason_of(error)
                self.release()

    def _log(self, last: int, outcome: Outcome | None) -> None:
        before = self.record
        ends = outcome is not None and outcome != "interrupted"
        lacks_files = ends and (before is None or before.content != outcome)
        if lacks_files:
            self._open()  # which tells how many epochs it has, if it is still there
        for epoch, metrics in epochs(self.subject.folder):
            if self._step < epoch <= last:
                tracker = self._open()
                if tracker.step < epoch:  # a store may have more than was noted
                    tracker.log_metrics(epoch, metrics)
                    tracker.step = epoch
                self.records.note(self.name, tracker)
        if outcome is None:
            return
        if lacks_files:
            tracker = self._open()
            tracker.log_files(tracker.step, files(self.subject.folder))
            self.records.note(self.name, tracker, outcome)
        if self.tracker is not None:
            tracker, self.tracker = self.tracker, None
            tracker.close(outcome)

    @property
    def _step(self) -> int:
        """The last epoch that the record has."""
        if self.tracker is not None:
            return self.tracker.step
        return self.record.step if self.record is not None else 0

    def _open(self) -> Tracker:
        if self.tracker is None:
            self.tracker = self.kind(self.subject, self.destinations, self.record)
            self.records.note(self.name, self.tracker)
        return self.tracker

    def release(self) -> None:
        """Give up a record that cannot be written; the next attempt opens it again."""
        tracker, self.tracker = self.tracker, None
        if tracker is not None:
            with suppress(Exception):
                tracker.close("interrupted")


@contextmanager
def closing(tracking: Log) -> Iterator[Log]:
    """Close a record, or those of a run, when the block has ended, and say how it has."""
    outcome: Outcome = "failed"
    try:
        yield tracking
        outcome = "finished"
    except (InterruptedRunError, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        tracking.close(outcome)

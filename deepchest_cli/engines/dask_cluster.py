"""A Dask cluster as an engine, however it was started: https://distributed.dask.org."""

import pickle
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from deepchest_cli.engines.base import Engine, Retirement
from deepchest_cli.engines.child import KilledWorkerError, LostWorkerError
from deepchest_cli.engines.dask_connection import Connection
from deepchest_cli.engines.dask_worker import complete_task, problem_of, versions
from deepchest_cli.engines.session import Session
from deepchest_cli.engines.task import Task
from deepchest_cli.errors import DeepChestError, InterruptedRunError

LOOK_SECONDS = 1.0  # between two looks at which workers there are
NO_WORKER_SECONDS = 60.0  # without a worker, until that is said
REPEAT_SECONDS = 300.0  # between two times that it is said
STEADY_SECONDS = 10.0  # that a number of workers lasts before it is said
MOST_WANTED = 1000  # tasks that an adaptive cluster is told of
AVOID_SECONDS = 10.0  # without tasks for a worker whose task a signal has ended: it may close


@dataclass(eq=False)
class _ClusterWorker:
    """A worker of the cluster, from when it is first seen."""

    address: str
    label: str  # in messages
    check: Future[Any]
    fits: bool | None = None  # None: is being checked
    placed: tuple[Future[Any], Future[Any]] | None = None  # the driver's of a task, and Dask's
    avoided_until: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no task is running on it."""
        return self.placed is None or self.placed[0].done()


@dataclass(frozen=True)
class _Call:
    """What is a function's result when it is unpickled."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


class DaskCluster(Engine):
    """Completes tasks on a Dask cluster, one at a time on each worker that passes a check.

    The workers see the folder of the session and read the files. Tasks are placed here and not by
    Dask, which would not move one that waits for a busy worker to one that comes later, and to
    which the task of a killed worker is a suspect that may kill others.
    """

    slots = None
    session: Session
    survives_interruption = True

    def __init__(
        self,
        address: str,
        session: Session,
        files: Sequence[tuple[Path, str]],
        warn: Callable[[str], None],
        note: Callable[[str], None],
    ) -> None:
        """address: HOST:PORT of a scheduler, its file, or local:N for N processes here.

        files: absolute paths with the SHA-256 that every worker must find. Raises `UsageError` for
        a wrong address, for a scheduler that does not answer (on entering), and without Dask.
        """
        super().__init__()
        self.session, self.warn, self.note = session, warn, note
        self.files = [(str(path), sha256) for path, sha256 in files]
        self.connection = Connection(address)
        self._workers: dict[str, _ClusterWorker] = {}  # by address
        self._queue: deque[tuple[Task, Future[Any]]] = deque()
        self._last: dict[str, _ClusterWorker] = {}  # where a task was run, by its key
        self._problems: dict[str, str] = {}  # of workers, with how to mend them
        self._wanted: list[Future[Any]] = []
        self._stopped = False
        self._next_look = 0.0
        self._fit_at = self._steady_at = self._warn_at = 0.0
        self._count = self._said = 0  # of workers that fit

    def __enter__(self) -> Self:
        self.connection.__enter__()
        self._fit_at = time.monotonic()
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the cluster; one of processes here is closed."""
        self.connection.__exit__(*raised)

    def submit(self, task: Task) -> Future[Any]:
        """Put a task at the end of the queue; `attend` places it on a worker."""
        future: Future[Any] = Future()
        if not self._waiting:
            self._fit_at = self._warn_at = time.monotonic()  # nobody has looked meanwhile
        self._queue.append((task, future))
        self._place()
        return future

    def share(self, task: Task) -> float:
        """Return what the task has last reported."""
        return self.session.share(task.key)

    def retire(self, task: Task) -> Retirement:
        """Never use the worker of a task again."""
        worker = self._last[task.key]
        worker.fits = False
        self._problems["has lost its device"] = "Restart the worker, or its machine."
        return Retirement(
            worker.address, f"{worker.label} is not used any more", "on another worker"
        )

    def stop(self) -> None:
        """Drop what waits; what runs sees the end of the session."""
        self._stopped = True
        self._want(0)
        while self._queue:
            self._queue.popleft()[1].set_exception(KilledWorkerError("before it began"))

    def attend(self) -> None:
        """Look which workers there are, and place tasks on those that are idle."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._look(now)
        for worker in self._workers.values():
            if worker.fits is None and worker.check.done():
                worker.fits = self._passed_check(worker)
        self._place()

    def _look(self, now: float) -> None:
        there = {
            address: about
            for address, about in self.connection.workers().items()
            if about["status"] in ("running", "paused")
        }
        for address in self._workers.keys() - there.keys():
            worker = self._workers.pop(address)
            _give_up(worker, f"{worker.label} has gone away")
        for worker in self._workers.values():
            if worker.placed is not None and worker.placed[1].cancelled():
                _give_up(worker, "the connection to the scheduler was lost meanwhile")
        for address in there.keys() - self._workers.keys():
            self._workers[address] = self._begin_check(address, there[address])
        if not self._stopped:
            self._report_workers(now)
            self._want(len(self._queue))

    def _executor(self, **where: Any) -> Any:
        return self.connection.client.get_executor(pure=False, **where)

    def _submit(self, address: str, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Call a function on one worker. The scheduler reads tasks, and needs no deepchest."""
        executor = self._executor(workers=[address], allow_other_workers=False)
        future: Future[Any] = executor.submit(
            pickle.loads, pickle.dumps(_Call(function, arguments))
        )
        return future

    def _begin_check(self, address: str, about: dict[str, Any]) -> _ClusterWorker:
        """Begin to check a worker."""
        name = str(about.get("name", address))
        label = f"worker {address}" if name in address else f"worker {address} ({name})"
        session = str(self.session.folder), self.session.token
        check = self._submit(address, problem_of, versions(), *session, self.files)
        return _ClusterWorker(address, label, check)

    def _passed_check(self, worker: _ClusterWorker) -> bool:
        """Whether a worker that has been checked can be used; say what is wrong, once for all."""
        try:
            found = worker.check.result()
        except ModuleNotFoundError as error:
            wanted = ", ".join(" ".join(pair) for pair in versions().items())
            found = f"has no {error.name}", f"Install {wanted} for all workers."
        except BaseException as error:  # of unpickling, above all
            found = (
                f"does not answer as it should ({type(error).__name__}: {error})",
                "Install the same versions of deepchest, Python and Dask for all workers and here.",
            )
        if found is None:
            return True
        problem, hint = found
        if problem not in self._problems:
            self._problems[problem] = hint
            self.warn(f"The {worker.label} {problem}, and is not used. {hint}")
        return False

    @property
    def _waiting(self) -> int:
        """The number of tasks that have not ended."""
        return len(self._queue) + sum(not one.is_idle for one in self._workers.values())

    def _report_workers(self, now: float) -> None:
        """Say how many workers there are, where these are fewer than tasks or none at all."""
        count = sum(worker.fits is True for worker in self._workers.values())
        if count != self._count:
            self._count, self._steady_at = count, now + STEADY_SECONDS
        tasks = self._waiting
        if count or not tasks:
            self._fit_at = self._warn_at = now
            if count < tasks and now >= self._steady_at and count != self._said:
                self._said = count
                self.note(f"{count} of {tasks} jobs run at a time: that many workers can be used.")
        elif now >= self._fit_at + NO_WORKER_SECONDS:
            seconds = round(now - self._fit_at)
            self._raise_if_none_will_fit(seconds)
            if now >= self._warn_at:
                self._warn_at = now + REPEAT_SECONDS
                self._warn_of_none(tasks, seconds)

    def _raise_if_none_will_fit(self, seconds: int) -> None:
        fits = [worker.fits for worker in self._workers.values()]
        if fits and None not in fits:
            (problem, hint), *_ = self._problems.items()
            raise DeepChestError(
                f"None of the {len(fits)} workers of the Dask cluster can be used. One {problem}.",
                hint,
            )
        if self.connection.processes is not None and not fits:
            raise DeepChestError(
                f"The processes of --dask {self.connection.address} have ended, and none has begun "
                f"again for {seconds} s.",
                "What has finished is kept: go on with --resume; prepare, with the same command.",
            )

    def _warn_of_none(self, tasks: int, seconds: int) -> None:
        address = self.connection.client.scheduler.address
        found = "has workers that have not answered" if self._workers else "has had no worker"
        look = (
            f"See that its jobs run (squeue, kubectl get pods), that workers connect to {address}, "
            "and that no firewall is in between."
            if not self._workers
            else "See whether they are busy with other work."
        )
        self.warn(f"The Dask cluster {found} for {seconds} s; {tasks} jobs wait. {look}")

    def _want(self, number: int) -> None:
        """Let a cluster that adapts its size know how many tasks wait: as many that never run.

        No worker has what they ask for.
        """
        number = min(number, MOST_WANTED)
        while len(self._wanted) > number:
            self._wanted.pop().cancel()
        executor = self._executor(resources={"deepchest-waiting": 1})
        self._wanted += [executor.submit(int) for _ in range(number - len(self._wanted))]

    def _place(self) -> None:
        """Hand tasks to idle workers."""
        for worker in self._workers.values():
            ready = worker.fits and worker.is_idle and time.monotonic() >= worker.avoided_until
            if ready and self._queue:
                self._begin(worker, *self._queue.popleft())

    def _begin(self, worker: _ClusterWorker, task: Task, future: Future[Any]) -> None:
        theirs = self._submit(worker.address, complete_task, self.session.call(task, None))
        worker.placed, self._last[task.key] = (future, theirs), worker
        theirs.add_done_callback(partial(_pass_on, worker, future))


def _pass_on(worker: _ClusterWorker, future: Future[Any], theirs: Future[Any]) -> None:
    """Pass on how a task has ended; called in a thread of Dask's."""
    if theirs.cancelled():  # by `_give_up`, or with the connection: see `_look`
        return
    with suppress(InvalidStateError):  # given up meanwhile, since its worker had gone
        error = theirs.exception()
        if isinstance(error, InterruptedRunError):
            worker.avoided_until = time.monotonic() + AVOID_SECONDS
        if type(error).__name__ == "KilledWorker":  # Dask's own
            error = LostWorkerError(f"{worker.label} was killed")
        if error is None:
            future.set_result(theirs.result())
        else:
            future.set_exception(error)


def _give_up(worker: _ClusterWorker, why: str) -> None:
    """Give up the task of a worker that has gone away."""
    if worker.placed is not None:
        future, theirs = worker.placed
        with suppress(InvalidStateError):  # it has just ended
            future.set_exception(LostWorkerError(why))
        theirs.cancel()

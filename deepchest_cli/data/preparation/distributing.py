"""The planned jobs of a preparation, handed to a Dask cluster."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation.decoding import available_cores
from deepchest_cli.data.preparation.job_plan import read_plans, remaining_jobs
from deepchest_cli.data.preparation.jobs import CompletedJob, complete_job
from deepchest_cli.data.preparation.planning import Plan, Say
from deepchest_cli.data.preparation.supplying import Progress
from deepchest_cli.data.shards import PLAN
from deepchest_cli.engines.dask_connection import local_processes
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.session import open_session
from deepchest_cli.engines.task import Task
from deepchest_cli.errors import ExitCode, InterruptedRunError
from deepchest_cli.files import locked, sha256_of
from deepchest_cli.interruption import stop_on_signal

Argument = tuple[PrepareConfig, Path, Path, int]  # configuration, source, shards, number of the job


def distribute_jobs(
    plan: Plan,
    config: PrepareConfig,
    source: Path,
    data: Path,
    progress: Progress,
    warn: Say,
    note: Say,
) -> None:
    """Complete the planned jobs that are not complete, on the workers of `config.dask`.

    Raises the first error of a job; the others save what they have done then. Raises
    `InterruptedRunError` after a signal.
    """
    address, numbers = config.dask, remaining_jobs(plan, data)
    if address is None or not numbers:
        return
    from deepchest_cli.engines.dask_cluster import DaskCluster

    config = _for_workers(config, address)
    folders = [plan.folder(data, size).absolute() for size in read_plans(plan, config, data)]
    tasks = [
        Task(
            f"job-{number}",
            f"Job {number}",
            work,
            (config, source.absolute(), data.absolute(), number),
        )
        for number in numbers
    ]
    with ExitStack() as stack:
        for folder in folders:  # the workers on this machine share it
            stack.enter_context(locked(folder, shared=True))
        session = stack.enter_context(open_session(folders[0]))
        files = [(folder / PLAN, sha256_of(folder / PLAN)) for folder in folders]
        engine = stack.enter_context(DaskCluster(address, session, files, warn, note))
        done, total = 0, int(plan.candidates().sum())

        def move(running: float) -> None:
            progress(min(round(total * (done + running) / len(tasks)), total), total)

        with closing(drive(tasks, engine, move, warn)) as outcomes:
            for _, outcome in outcomes:
                if not isinstance(outcome, CompletedJob):
                    raise outcome
                done += 1


def _for_workers(config: PrepareConfig, address: str) -> PrepareConfig:
    """Return a configuration with absolute paths; processes here get equal shares of the cores."""
    paths: dict[str, Any] = {
        key: value.absolute() for key, value in vars(config).items() if isinstance(value, Path)
    }
    scheme = config.split_scheme
    if scheme is not None and Path(scheme).is_file():
        scheme = str(Path(scheme).absolute())
    workers, processes = config.workers, local_processes(address)
    if workers is None and processes is not None:
        workers = max(1, available_cores() // processes)
    return replace(
        config, **paths, split_scheme=scheme, workers=workers, dask=None, jobs=None, force=False
    )


def work(argument: Argument, device: str | None, report: Callable[[float], None]) -> CompletedJob:
    """Complete a job, in the main thread of a process of a worker; a signal lets it end early."""
    with stop_on_signal() as stop:
        heeded = stop.heeded(lambda done, total: report(done / total))
        try:
            return complete_job(*argument, heeded)
        except KeyboardInterrupt as error:
            code = stop.exit_code or ExitCode.INTERRUPTED
            raise InterruptedRunError("Interrupted; finished shards are kept.", "", code) from error

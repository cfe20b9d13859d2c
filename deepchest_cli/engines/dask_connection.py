"""Connecting to a Dask scheduler, or starting one here, without the noise of its logs."""

import json
import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.extras import install_hint

LOCAL = "local:"
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")
FORM = "--dask takes HOST:PORT or tcp://HOST:PORT of a scheduler, its scheduler file, or local:N."


def local_processes(address: str) -> int | None:
    """Return N of local:N; None for the address of a scheduler. Raises `UsageError`."""
    if not address.startswith(LOCAL):
        if Path(address).is_file() or re.fullmatch(r"(\w+://)?[^/\s]+:\d+", address):
            return None
        raise UsageError(f"--dask {address!r} is no address of a scheduler.", FORM)
    number = address.removeprefix(LOCAL)
    if not number.isdecimal() or int(number) == 0:
        raise UsageError(f"--dask {address!r}: {number!r} is no number of processes.", FORM)
    return int(number)


def refuse_unreachable(address: str) -> None:
    """Raise `UsageError` for an address where no scheduler answers, before there is other work."""
    connection = Connection(address)
    if connection.processes is None:
        connection.reach()


class Connection:
    """A client of a scheduler; used as a context manager. What Dask logs is not shown."""

    def __init__(self, address: str) -> None:
        """Check an address. Raises `UsageError` for a wrong one, or without the extra `dask`."""
        self.address, self.processes = address, local_processes(address)
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            raise UsageError(f"--dask needs {error.name}.", install_hint("dask")) from error
        self.client: Any = None
        self._open = ExitStack()

    def __enter__(self) -> "Connection":
        from distributed import Client

        with ExitStack() as opened:
            opened.enter_context(_silence())
            if self.processes is None:
                target = self.reach()
            else:
                target = opened.enter_context(_local_cluster(self.processes))
            client = Client(target, timeout=CONNECT_SECONDS, set_as_default=False)
            self.client = opened.enter_context(client)
            self._open = opened.pop_all()
        return self

    def reach(self) -> str:
        """Return the address of the scheduler, which has answered there; else `UsageError`."""
        import asyncio

        from distributed.comm import connect
        from distributed.security import Security

        async def visit(address: str) -> None:
            keys = Security().get_connection_args("client")  # as Dask's configuration names them
            comm = await connect(address, timeout=CONNECT_SECONDS, **keys)
            await comm.close()

        path, address = Path(self.address), self.address
        try:
            if path.is_file():
                address = str(json.loads(path.read_text("utf-8"))["address"])
            asyncio.run(visit(address))  # a client that cannot connect is not easily got rid of
        except (OSError, ValueError, TypeError, LookupError, ImportError) as error:
            raise UsageError(
                f"--dask {self.address}: no Dask scheduler answers there: {_reason(error)}.",
                "Start one (dask scheduler, or a cluster of dask-jobqueue), compare the address "
                "with what it says when it starts, and see that no firewall is in between.",
            ) from error
        return address

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler says of each worker, by address.

        Raises `DeepChestError` where it does not answer.
        """
        from distributed.utils import sync

        client, error = self.client, None
        while client.status == "connecting":  # again, after a disturbance; Dask waits as long
            time.sleep(0.1)
        try:
            if client.status == "running":
                answer = sync(
                    client.loop, client.scheduler.identity, callback_timeout=ANSWER_SECONDS
                )
                return dict(answer["workers"])
        except (OSError, TimeoutError) as raised:
            error = raised
        raise DeepChestError(
            f"The Dask scheduler at {self.address} has gone away.",
            "What has finished is kept. Start a cluster again and continue with --resume; prepare, "
            "with the same command.",
        ) from error


def _reason(error: Exception) -> str:
    """Return the innermost cause of an error that says anything."""
    said = str(error)
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
        said = str(error) or said
    return said.partition("\n")[0].rstrip(".") or type(error).__name__


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Dask logs off the terminal; what matters is raised, or seen by who asks."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    try:
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _local_cluster(processes: int) -> Iterator[Any]:
    from distributed import LocalCluster

    try:
        started = LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            preload=["deepchest_cli.engines.dask_worker"],
        )
    except (OSError, RuntimeError) as error:  # one of them was killed, or there is no memory
        raise DeepChestError(
            f"The processes of --dask local:{processes} did not start: {_reason(error)}.",
            "Start the command again, with fewer of them where memory lacks.",
        ) from error
    with started as cluster:
        yield cluster

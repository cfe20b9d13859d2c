"""The processes of a training: how they join, and how they end together."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.interruption import BATCH_SIGNALS
from deepchest_cli.library.launchers import TORCHRUN, Launch, find_launch, variables_of_torch
from deepchest_cli.reporter import Reporter

if TYPE_CHECKING:
    from deepchest_cli.training.distributed import DistributedContext

POLL_SECONDS = 0.5  # between two checks whether the launcher is alive


@contextmanager
def distributed_processes(device: str, reporter: Reporter) -> Iterator["DistributedContext"]:
    """Join the other processes where a launcher has started several; errors name the process."""
    launch = find_launch(os.environ)
    if launch is None:
        from deepchest_cli.training.device import resolve_device
        from deepchest_cli.training.distributed import DistributedContext

        resolve_device(device)
        yield DistributedContext()
        return
    variables = {}
    if launch.launcher != TORCHRUN.name:
        variables = variables_of_torch(launch, os.environ)
        _refuse_unknown_host(variables["MASTER_ADDR"])
        if launch.rank == 0:
            place = f"{variables['MASTER_ADDR']}:{variables['MASTER_PORT']}"
            reporter.note(f"{launch.world_size} processes of {launch.launcher} join at {place}")
    threading.Thread(target=end_with_launcher, args=(os.getppid(),), daemon=True).start()
    try:
        with _environment(variables), _joined(launch, device) as distributed:
            yield distributed
    except DeepChestError as error:
        if launch.rank:
            error.message = f"Process {launch.rank} of {launch.world_size}: {error.message}"
        raise


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment, where torch reads them, for the time of the context."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _joined(launch: Launch, device: str) -> Iterator["DistributedContext"]:
    # only now: torch reads the number of threads as it is imported
    import torch

    from deepchest_cli.training.device import resolve_device
    from deepchest_cli.training.distributed import is_lost_peer, process_group

    number = launch.local_rank
    if launch.launcher != TORCHRUN.name:
        # a process that sees its own GPUs alone counts them from 0
        number %= max(torch.cuda.device_count(), 1)
    kind, joined = resolve_device(device, number).type, False
    try:
        with process_group(launch.rank, launch.world_size, number, kind) as distributed:
            joined = True
            if kind == "cuda":
                _refuse_shared_gpu(distributed)
            yield distributed
    except RuntimeError as error:
        if is_lost_peer(error):
            raise DeepChestError(
                "Another process has ended before the training began.",
                "Its own error stands above or below.",
            ) from error
        if not joined and isinstance(error, torch.distributed.DistError):
            reason = str(error).strip().partition("\n")[0]
            place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise DeepChestError(
                f"The processes could not join at {place}: {reason}",
                "Set MASTER_ADDR to the host of process 0 and MASTER_PORT to a free port there.",
            ) from error
        raise


def _refuse_unknown_host(name: str) -> None:
    """Raise `UsageError` for a host without an address, which torch would look for half an hour."""
    try:
        socket.getaddrinfo(name, None)
    except OSError as error:
        raise UsageError(
            f"The host of process 0, {name!r}, has no address: {error.strerror}.",
            "Set MASTER_ADDR, in all processes, to a name or an address that this node knows.",
        ) from error


def _refuse_shared_gpu(distributed: "DistributedContext") -> None:
    """Raise `UsageError` in all processes where two have one GPU, with which NCCL would fail."""
    import numpy as np
    import torch

    # by what the driver calls it: all are cuda:0 where each process sees its own alone
    own = getattr(torch.cuda.get_device_properties(distributed.local_rank), "uuid", None)
    if own is None:
        return
    names = distributed.all_gather_rows(np.array([str(own)])).tolist()
    for rank, name in enumerate(names):
        if (first := names.index(name)) < rank:
            raise UsageError(
                f"Processes {first} and {rank} have the same GPU ({name}).",
                "Start one process for each GPU: srun --gpus-per-task 1, or as many tasks on a "
                "node as it has GPUs (--ntasks-per-node 4 --gpus-per-node 4).",
            )


def end_with_launcher(launcher: int) -> None:
    """Ask this process to save and end once its launcher has ended: nothing else would end it.

    A launcher passes on some signals, and is ended by others (SIGUSR1, unless it is configured).
    Of srun's tasks it is slurmstepd.
    """
    while os.getppid() == launcher:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def ignore_launcher_signals(distributed: "DistributedContext") -> Iterator[None]:
    """Ignore signals after the block, so that this process can write its last messages.

    A launcher ends all processes as soon as one has ended.
    """
    try:
        yield
    finally:
        if distributed.world_size > 1:
            for number in (signal.SIGTERM, *BATCH_SIGNALS):
                signal.signal(number, signal.SIG_IGN)

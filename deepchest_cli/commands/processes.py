"""The processes that a launcher such as torchrun has started for one command."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deepchest_cli.errors import DeepChestError
from deepchest_cli.interruption import WARNINGS

if TYPE_CHECKING:
    from deepchest_cli.training.distributed import DistributedContext

POLL_SECONDS = 0.5  # between two checks whether the launcher is alive


@contextmanager
def distributed_processes(device: str) -> Iterator["DistributedContext"]:
    """Join the other processes where torchrun has started several; errors name the process."""
    from torch.distributed import is_torchelastic_launched

    from deepchest_cli.training.device import resolve_device
    from deepchest_cli.training.distributed import is_lost_peer, process_group

    variables = os.environ if is_torchelastic_launched() else {}
    rank, world_size, local_rank = (
        int(variables.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if world_size > 1:
        threading.Thread(target=end_with_launcher, args=(os.getppid(),), daemon=True).start()
    kind = resolve_device(device, local_rank).type
    try:
        with process_group(rank, world_size, local_rank, kind) as distributed:
            yield distributed
    except DeepChestError as error:
        if rank:
            error.message = f"Process {rank} of {world_size}: {error.message}"
        raise
    except RuntimeError as error:
        if world_size == 1 or not is_lost_peer(error):
            raise
        raise DeepChestError(
            f"Process {rank} of {world_size}: another process has ended before the training began.",
            "Its own error stands above or below.",
        ) from error


def end_with_launcher(launcher: int) -> None:
    """Ask this process to save and end once its launcher has ended: nothing else would end it.

    A launcher passes on some signals, and is ended by others (SIGUSR1, unless it is configured).
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
            for number in (signal.SIGTERM, *WARNINGS):
                signal.signal(number, signal.SIG_IGN)

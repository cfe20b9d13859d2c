"""The processes that a launcher has started for one command."""

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
    from deepchest_cli.training.ranks import Ranks

LOOK = 0.5  # seconds between two looks whether the launcher is there


@contextmanager
def processes(device: str) -> Iterator["Ranks"]:
    """Join the other processes where torchrun has started several; their errors say whose."""
    from torch.distributed import is_torchelastic_launched

    from deepchest_cli.training.device import resolve_device
    from deepchest_cli.training.failures import lost_peer
    from deepchest_cli.training.ranks import joined

    found = os.environ if is_torchelastic_launched() else {}
    rank, count, local = (
        int(found.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if count > 1:
        threading.Thread(target=end_with_launcher, args=(os.getppid(),), daemon=True).start()
    try:
        with joined(rank, count, local, resolve_device(device, local).type) as ranks:
            yield ranks
    except DeepChestError as error:
        if rank:
            error.message = f"Process {rank} of {count}: {error.message}"
        raise
    except RuntimeError as error:
        if count == 1 or not lost_peer(error):
            raise
        text = f"Process {rank} of {count}: another process has ended before the training began."
        raise DeepChestError(text, "What it said stands above, or below.") from error


def end_with_launcher(launcher: int) -> None:
    """Ask this process to save and end once its launcher is gone: nobody else would end it.

    A launcher passes on some signals, and dies of others (SIGUSR1, where it is not told to).
    """
    while os.getppid() == launcher:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def undisturbed_end(ranks: "Ranks") -> Iterator[None]:
    """Let this process finish speaking after the work, whatever became of it.

    A launcher ends all processes as soon as one has ended.
    """
    try:
        yield
    finally:
        if ranks.count > 1:
            for number in (signal.SIGTERM, *WARNINGS):
                signal.signal(number, signal.SIG_IGN)

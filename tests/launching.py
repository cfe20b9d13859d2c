"""`deepchest train` in two processes, started by torchrun or another launcher."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests_support import rows_of
from two_processes import ENVIRONMENT, TORCHRUN

TRAIN = ["-m", "deepchest_cli", "train", "--device", "cpu", "--image-size", "28"]
TRAIN += ["--batch-size", "8"]
Process = subprocess.Popen[str]


@contextmanager
def launcher(
    data: Path, folder: Path, backbone: str = "small_cnn", command: Sequence[object] = TORCHRUN
) -> Iterator[Callable[..., Process]]:
    """Yield a function that starts a run in two processes; all are ended with the block."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        process = subprocess.Popen(
            [*map(str, (*command, *TRAIN, "--backbone", backbone, "--data", data, *arguments))],
            env=ENVIRONMENT,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def workers_of(process: Process) -> list[int]:
    """Return the processes that a launcher has started, in the order of their ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    ours = []
    for pid in map(int, children.split()):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        rank = [entry for entry in variables if entry.startswith(b"RANK=")]
        ours += [(int(rank[0][5:]), pid)] if rank else []
    return [pid for _, pid in sorted(ours)]


def wait_for_epochs(run: Path, epochs: int, process: Process) -> None:
    deadline = time.monotonic() + 120
    while not ((run / "metrics.csv").exists() and len(rows_of(run / "metrics.csv")) >= epochs):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)

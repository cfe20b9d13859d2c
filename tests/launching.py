"""`deepchest train` in two processes, started by torchrun or another launcher."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests_support import rows_of
from two_processes import TORCHRUN, environment
from waiting import wait_for

PROGRAM = ("-m", "deepchest_cli")
HELD = (Path(__file__).with_name("held.py"),)  # waits for a signal after the first epoch
TRAIN = ["train", "--device", "cpu", "--image-size", "28", "--batch-size", "8"]
TRAIN += ["--precision", "fp32"]  # measurements of a busy machine may say another
Process = subprocess.Popen[str]


@contextmanager
def launcher(
    data: Path,
    folder: Path,
    backbone: str = "small_cnn",
    command: Sequence[object] = TORCHRUN,
    program: Sequence[object] = PROGRAM,
) -> Iterator[Callable[..., Process]]:
    """Yield a function that starts a run in two processes; all are ended with the block."""
    started: list[Process] = []

    def start(*arguments: object) -> Process:
        line = (*command, *program, *TRAIN, "--backbone", backbone, "--data", data, *arguments)
        process = subprocess.Popen(
            [*map(str, line)],
            env=environment(),
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
    """Wait until a run that goes on has written so many epochs."""

    def written() -> bool:
        table = run / "metrics.csv"
        if table.exists() and len(rows_of(table)) >= epochs:
            return True
        assert process.poll() is None, process.communicate()
        return False

    wait_for(written)

"""Runs on two nodes: two launchers that meet at an address, here on one machine."""

import random
import re
import shlex
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from launching import launcher
from tests_support import untimed
from waiting import LIMIT

from deepchest_cli.model.checkpoint import read_checkpoint

OPTIONS = ["--epochs", 20, "--patience", 0]
PAGE = Path(__file__).parents[1] / "docs/scaling.md"


def command():
    """Return what starts a node, as the page on scaling has it, with one process of its own."""
    (line,) = re.findall(r"^torchrun (.*) -m deepchest_cli train", PAGE.read_text("utf-8"), re.M)
    port = free_port()
    assert "--rdzv-endpoint node01:29400" in line
    words = shlex.split(line.replace("node01:29400", f"localhost:{port}"))
    more = ["--nproc-per-node", 1, "--max-restarts", 0]  # instead of those before
    return [sys.executable, "-m", "torch.distributed.run", *words, *more]


def free_port():
    """Return a port that nobody uses, and that the system gives to nobody who asks for any."""
    while True:
        port = random.SystemRandom().randrange(30_000, 32_768)  # below Linux's own choice
        with socket.socket() as free:
            try:
                free.bind(("localhost", port))
            except OSError:
                continue
        return port


@contextmanager
def two_nodes(data, folders):
    """Yield a function that starts a run on two nodes, each in a folder with data of its own."""
    words = command()
    with (
        launcher(data[0], folders[0], command=words) as first,
        launcher(data[1], folders[1], command=words) as second,
    ):
        yield lambda *given: [launch(*OPTIONS, *given) for launch in (first, second)]


def ended(processes):
    """Return exit codes and what was printed to both streams, of each node."""
    said = [process.communicate(timeout=LIMIT) for process in processes]
    return [process.returncode for process in processes], said


def assert_same_run(one, other):
    """Tables and checkpoints are the same to the last bit."""
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(one / table) == untimed(other / table)
    ours, theirs = (read_checkpoint(run / "best.pt")["tensors"] for run in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)

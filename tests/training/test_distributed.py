import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
import two_processes
from launching import launcher, wait_for_epochs, workers_of
from own_backbones import write
from two_processes import FEW, TORCHRUN, assert_same_training, environment, train_all

from deepchest_cli.interruption import stop_on_signal
from deepchest_cli.library.processes import end_with_launcher
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.distributed import DistributedContext


@pytest.fixture(scope="module")
def runs(shards, site_shards, tmp_path_factory):
    """A variant for each backward strategy, trained by one process and by two."""
    assert site_shards == shards.with_name("site")  # where the variants look for it
    out = tmp_path_factory.mktemp("distributed")
    for folder in ("one", "two"):
        (out / folder).mkdir()
    command = [*TORCHRUN, Path(two_processes.__file__), shards, out / "two", *FEW]
    subprocess.run(command, check=True, env=environment(), timeout=1800, capture_output=True)
    train_all(shards, out / "one", list(FEW), DistributedContext())
    return out


@pytest.mark.parametrize("name", FEW)
def test_two_processes_train_to_the_losses_and_weights_of_one(runs, name):
    assert_same_training(runs / "one" / name, runs / "two" / name)


def test_one_process_alone_needs_no_others():
    alone = DistributedContext()
    rows = torch.rand(3, 2)
    assert alone.is_main
    assert alone.all_gather(rows) is rows
    assert alone.start_maximum(7)() == 7
    assert alone.all_gather_object("run") == ["run"]
    assert alone.broadcast("run") == "run"


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")


@pytest.fixture(scope="module")
def killed(shards, tmp_path_factory):
    """A run of one's own backbone, one of whose processes was killed, and what it said."""
    folder = tmp_path_factory.mktemp("killed")
    write(folder / "mine.py")
    with launcher(shards, folder, "mine.py:build") as launch:
        process = launch("--epochs", 10_000, "--patience", 0, "--out", folder / "run")
        wait_for_epochs(folder / "run", 1, process)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        error = process.communicate(timeout=600)[1]
    return folder / "run", process.returncode, error


@needs_proc
def test_the_death_of_one_process_is_said_and_leaves_a_state_to_go_on_from(killed):
    run, code, error = killed
    assert code != 0
    assert "Another process of this run has ended" in error
    assert f"deepchest train --resume {run}" in error
    assert read_checkpoint(run / "last.pt")["training"]["train_state"]["epoch"] >= 1


@needs_proc
def test_two_processes_run_code_of_ones_own(killed):
    """Both have trained an epoch with it, or there would be no best epoch."""
    architecture = read_checkpoint(killed[0] / "best.pt")["architecture"]
    assert architecture["backbone"] == "mine.py:build"


def test_a_process_ends_with_its_launcher(monkeypatch):
    parents = [7, 7, 1]
    monkeypatch.setattr("os.getppid", lambda: parents.pop(0))
    monkeypatch.setattr("deepchest_cli.library.processes.POLL_SECONDS", 0)
    with stop_on_signal() as stop:
        end_with_launcher(7)
        assert stop.exit_code == 143
    assert not parents

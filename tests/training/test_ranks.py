import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import two_processes
from tests_support import rows_of, untimed
from two_processes import train_all, variants

from deepchest_cli.commands.processes import end_with_launcher
from deepchest_cli.interruption import stop_on_signal
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.distributed import DistributedContext

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["-m", "deepchest_cli", "train", "--device", "cpu"]
TRAIN += ["--backbone", "small_cnn", "--batch-size", "8"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def numbers(path):
    return [[float(value or "nan") for value in row.values()] for row in untimed(path)]


@pytest.fixture(scope="session")
def runs(shards, tmp_path_factory):
    """Every variant, trained by one process and by two."""
    out = tmp_path_factory.mktemp("ranks")
    script = Path(two_processes.__file__)
    for folder in ("one", "two"):
        (out / folder).mkdir()
    subprocess.run(
        [*TORCHRUN, script, shards, out / "two"],
        check=True,
        env=ENVIRONMENT,
        timeout=300,
        capture_output=True,
    )
    train_all(shards, out / "one", DistributedContext())
    return out


@pytest.mark.parametrize("name", variants(Path()))
def test_two_processes_train_to_the_losses_and_weights_of_one(runs, name):
    one, two = runs / "one" / name, runs / "two" / name
    assert (two / "weights.csv").exists() == (one / "weights.csv").exists()
    for table in sorted(path.name for path in one.glob("*.csv")):
        for ours, theirs in zip(numbers(two / table), numbers(one / table), strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5, nan_ok=True)
    expected = torch.load(one / "weights-0.pt")
    for rank in (0, 1):
        found = torch.load(two / f"weights-{rank}.pt")
        for key, value in expected.items():
            assert torch.allclose(found[key], value, rtol=1e-3, atol=1e-5), key
    average = [read_checkpoint(run / "best.pt")["tensors"] for run in (one, two)]
    assert all(
        torch.allclose(average[1][k], v, rtol=1e-3, atol=1e-5) for k, v in average[0].items()
    )


def test_both_processes_end_with_the_very_same_weights(runs):
    for name in variants(Path()):
        first, second = (torch.load(runs / "two" / name / f"weights-{n}.pt") for n in (0, 1))
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_process_alone_needs_no_others():
    alone = DistributedContext()
    rows = torch.rand(3, 2)
    assert alone.is_first
    assert alone.gather(rows) is rows
    assert alone.largest(7) == 7
    assert alone.from_first("run") == "run"


@pytest.fixture
def launch(shards, tmp_path):
    """Start `deepchest train` in two processes; all are ended with the test."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [*TORCHRUN, *TRAIN, "--data", shards, *map(str, arguments)],
            env=ENVIRONMENT,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def workers_of(process):
    """Return the processes that a launcher has started, in the order of their ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    ours = []
    for pid in map(int, children.split()):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        rank = [entry for entry in variables if entry.startswith(b"RANK=")]
        ours += [(int(rank[0][5:]), pid)] if rank else []
    return [pid for _, pid in sorted(ours)]


def wait_for_epochs(run, epochs, process):
    deadline = time.monotonic() + 120
    while not ((run / "metrics.csv").exists() and len(rows_of(run / "metrics.csv")) >= epochs):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")


@needs_proc
def test_sigterm_to_one_process_ends_all_and_the_run_goes_on_exactly(launch, tmp_path):
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    options = ["--epochs", 6, "--patience", 0, "--out"]
    process = launch(*options, run)
    wait_for_epochs(run, 2, process)
    os.kill(workers_of(process)[1], signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert out == ""
    position = read_checkpoint(run / "last.pt")["training"]["train_state"]
    assert 2 <= position["epoch"] < 6
    for speaker in ("Error: ", "Error: Process 1 of 2: "):
        assert f"{speaker}Interrupted after step {position['step']}; the state is saved." in err
    for rest in (launch("--resume", run), launch(*options, undisturbed)):
        assert rest.communicate(timeout=120)[0].count("6 epochs") == 1  # said once, by the first
        assert rest.returncode == 0
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(undisturbed / table)


@needs_proc
def test_the_death_of_one_process_is_said_and_leaves_a_state_to_go_on_from(launch, tmp_path):
    run = tmp_path / "run"
    process = launch("--epochs", 10_000, "--patience", 0, "--out", run)
    wait_for_epochs(run, 1, process)
    os.kill(workers_of(process)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Another process of this run has ended" in err
    assert f"deepchest train --resume {run}" in err
    assert read_checkpoint(run / "last.pt")["training"]["train_state"]["epoch"] >= 1


def test_a_process_ends_with_its_launcher(monkeypatch):
    parents = [7, 7, 1]
    monkeypatch.setattr("os.getppid", lambda: parents.pop(0))
    monkeypatch.setattr("deepchest_cli.commands.processes.POLL_SECONDS", 0)
    with stop_on_signal() as stop:
        end_with_launcher(7)
        assert stop.exit_code == 143
    assert not parents

"""`deepchest train` as the tasks of srun."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_srun import JOB, SRUN
from launching import HELD, launcher, wait_for_epochs
from tests_support import untimed
from two_processes import TORCHRUN, environment
from waiting import LIMIT

from deepchest_cli.model.checkpoint import read_checkpoint

OPTIONS = ["--epochs", 4, "--patience", 0, "--out"]


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    """A run of two processes of torchrun."""
    folder = tmp_path_factory.mktemp("torchrun")
    with launcher(shards, folder, command=TORCHRUN) as launch:
        error = launch(*OPTIONS, folder / "run").communicate(timeout=LIMIT)[1]
    assert (folder / "run" / "best.pt").exists(), error
    return folder / "run"


def assert_same_run(one, other):
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(one / table) == untimed(other / table)
    ours, theirs = (read_checkpoint(run / "best.pt")["tensors"] for run in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(("nodes", "number"), [(1, signal.SIGTERM), (2, signal.SIGUSR1)])
def test_a_run_that_slurm_ends_and_starts_again_is_the_run_of_torchrun(
    shards, tmp_path, undisturbed, nodes, number
):
    run = tmp_path / "run"
    command = [*SRUN, "--ntasks", 2, "--nodes", nodes, "--kill-on-bad-exit", 1, sys.executable]
    with launcher(shards, tmp_path, command=command, program=HELD) as launch:
        warned = launch(*OPTIONS, run, "--resume", "auto")
        wait_for_epochs(run, 1, warned)
        warned.send_signal(number)
        out, err = warned.communicate(timeout=LIMIT)
        step = read_checkpoint(run / "last.pt")["training"]["train_state"]["step"]
        assert f"Interrupted after step {step}; the state is saved." in err
        assert f"Resume with: deepchest train --resume {run}" in err
        assert "2 processes of srun join at localhost:" in err
        assert "Traceback" not in err
        assert warned.returncode == 128 + number, err
        resumed = launch(*OPTIONS, run, "--resume", "auto")
        out, err = resumed.communicate(timeout=LIMIT)
    assert resumed.returncode == 0, err
    assert f"Resumed after step {step}." in err
    assert out.count("4 epochs") == 1  # said by the first process alone
    assert_same_run(run, undisturbed)


def test_tasks_end_with_slurmstepd_and_have_saved(shards, tmp_path):
    run = tmp_path / "run"
    with launcher(shards, tmp_path, command=[*SRUN, "--ntasks", 2, sys.executable]) as launch:
        process = launch("--epochs", 10_000, "--patience", 0, "--out", run)
        wait_for_epochs(run, 1, process)
        process.kill()
        # the tasks hold its standard error open until they have ended
        assert "Interrupted after step" in process.communicate(timeout=LIMIT)[1]
    assert read_checkpoint(run / "last.pt")["training"]["train_state"]["epoch"] >= 1


def started(tmp_path, *command, **variables):
    return subprocess.run(
        [*map(str, command)],
        cwd=tmp_path,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def test_a_command_of_one_process_ends_all_tasks_before_it_has_written(tmp_path):
    deepchest = (sys.executable, "-m", "deepchest_cli", "prepare", "--demo", "--images", 100)
    done = started(tmp_path, *SRUN, "--ntasks", 3, *deepchest)
    assert done.returncode == 2
    assert done.stderr.count("deepchest prepare runs in one process") == 3
    assert list(tmp_path.iterdir()) == []


def test_the_batch_script_of_the_documents_is_queued_again_and_ends(shards, tmp_path):
    """It is run as sbatch would, with fewer epochs, on CPUs; the first time it is warned."""
    text = (Path(__file__).parents[2] / "docs/training.md").read_text("utf-8")
    (script,) = re.findall(r"^```bash\n(#!/bin/bash\n#SBATCH.*?)^```", text, re.M | re.S)
    real = "--device cuda --batch-size 128"
    assert real in script
    quick = "--batch-size 8 --image-size 28 --backbone small_cnn --device cpu --patience 0"
    script = script.replace(real, f"{quick} --precision fp32 --epochs 4")
    (tmp_path / "script").write_text(script)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/shards").symlink_to(shards)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in {
        "srun": f'exec {" ".join(SRUN)} "$@"',
        "deepchest": f'exec {sys.executable} {HELD[0]} "$@"',
        "scontrol": f'echo "$@" > {tmp_path}/requeued',
    }.items():
        (programs / name).write_text(f"#!/bin/bash\n{line}\n")
        (programs / name).chmod(0o755)
    variables = {
        **environment(),
        **JOB,
        "SLURM_CPUS_PER_TASK": "1",
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    job = subprocess.Popen(
        ["bash", "script"], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True
    )
    wait_for_epochs(tmp_path / "runs/mine", 1, job)
    (srun,) = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(srun), signal.SIGUSR1)
    error = job.communicate(timeout=LIMIT)[1]
    assert "Interrupted after step" in error
    assert job.returncode == 138  # also where the first task that ends gets the other killed: 137
    assert (tmp_path / "requeued").read_text() == "requeue 4217\n"
    again = subprocess.run(
        ["bash", "script"], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert "Resumed after step" in again.stderr
    assert "4 epochs" in again.stdout


@pytest.mark.parametrize("command", [(), (*SRUN, "--ntasks", 1)], ids=["salloc", "one task"])
def test_one_process_of_a_job_trains_alone(shards, tmp_path, command):
    words = ("-m", "deepchest_cli", "train", "--data", shards, "--out", tmp_path / "run")
    quick = ("--backbone", "small_cnn", "--device", "cpu", "--batch-size", 16, "--max-steps", 2)
    done = started(tmp_path, *command, sys.executable, *words, *quick, **JOB)
    assert done.returncode == 0, done.stderr
    assert "processes" not in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]

"""Every weighter in two processes, and a run of two processes that is interrupted."""

import shutil
import subprocess
from pathlib import Path

import pytest
import two_processes
from launching import launcher
from tests_support import untimed
from two_processes import FEW, TORCHRUN, assert_same_training, environment, train_all, variants

from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.distributed import DistributedContext

NAMES = [name for name in variants(Path()) if name not in FEW]


@pytest.fixture(scope="module")
def runs(shards, site_shards, tmp_path_factory):
    """Every other variant, trained by one process and by two."""
    assert site_shards == shards.with_name("site")  # where the variants look for it
    out = tmp_path_factory.mktemp("distributed")
    for folder in ("one", "two"):
        (out / folder).mkdir()
    command = [*TORCHRUN, Path(two_processes.__file__), shards, out / "two", *NAMES]
    subprocess.run(command, check=True, env=environment(), timeout=3600, capture_output=True)
    train_all(shards, out / "one", NAMES, DistributedContext())
    return out


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_to_the_losses_and_weights_of_one(runs, name):
    assert_same_training(runs / "one" / name, runs / "two" / name)


# `deepchest`, started as `-m deepchest_cli`, in whose second epoch the second process does
# something: who watched it from outside could be too late
IN_THE_SECOND_EPOCH = """
import itertools, os, signal, sys
from deepchest_cli.app import main
from deepchest_cli.training.step import TrainingStep
del sys.argv[1:3]
steps, take = itertools.count(1), TrainingStep.__call__
def step(self, *arguments, **options):
    taken = take(self, *arguments, **options)
    if next(steps) == 8 and os.environ["RANK"] == "1":
        {}
    return taken
TrainingStep.__call__ = step
main()
"""


def in_the_second_epoch(folder, statement):
    """Return a command that starts two processes, of which the second runs a statement then."""
    (folder / "program.py").write_text(IN_THE_SECOND_EPOCH.format(statement))
    return [*TORCHRUN, folder / "program.py"]


def test_sigterm_to_one_process_ends_all_and_the_run_goes_on_exactly(shards, tmp_path):
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    options = ["--epochs", 6, "--patience", 0, "--out"]
    command = in_the_second_epoch(tmp_path, "signal.raise_signal(signal.SIGTERM)")
    with launcher(shards, tmp_path) as launch, launcher(shards, tmp_path, command=command) as stop:
        process = stop(*options, run)
        out, err = process.communicate(timeout=600)
        assert process.returncode != 0
        assert out == ""
        state = read_checkpoint(run / "last.pt")["training"]["train_state"]
        assert state["epoch"] == 1
        for speaker in ("Error: ", "Error: Process 1 of 2: "):
            assert f"{speaker}Interrupted after step {state['step']}; the state is saved." in err
        for rest in (launch("--resume", run), launch(*options, undisturbed)):
            # said once, by the main process
            assert rest.communicate(timeout=600)[0].count("6 epochs") == 1
            assert rest.returncode == 0
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(undisturbed / table)


def test_data_that_become_unreadable_end_all_and_the_run_goes_on_exactly(
    shards, site_shards, tmp_path
):
    site, gone = tmp_path / "site", tmp_path / "gone"
    shutil.copytree(site_shards, site)
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    options = ["--data", site, "--epochs", 6, "--patience", 0, "--out"]
    command = in_the_second_epoch(tmp_path, f"os.rename({str(site)!r}, {str(gone)!r})")
    with launcher(shards, tmp_path) as launch, launcher(shards, tmp_path, command=command) as lose:
        process = lose(*options, run)
        _, err = process.communicate(timeout=600)
        assert process.returncode != 0
        assert f"Shard {site}" in err
        assert "can no longer be read" in err
        assert f"deepchest train --resume {run}" in err
        gone.rename(site)
        for rest in (launch("--data", site, "--resume", run), launch(*options, undisturbed)):
            assert rest.communicate(timeout=600)[0].count("6 epochs") == 1
            assert rest.returncode == 0
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(undisturbed / table)

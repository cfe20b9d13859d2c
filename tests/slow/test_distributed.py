"""Every weighter in two processes, and a run of two processes that is interrupted."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import two_processes
from launching import launcher, wait_for_epochs, workers_of
from tests_support import untimed
from two_processes import ENVIRONMENT, FEW, TORCHRUN, assert_same_training, train_all, variants

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
    subprocess.run(command, check=True, env=ENVIRONMENT, timeout=600, capture_output=True)
    train_all(shards, out / "one", NAMES, DistributedContext())
    return out


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_to_the_losses_and_weights_of_one(runs, name):
    assert_same_training(runs / "one" / name, runs / "two" / name)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_sigterm_to_one_process_ends_all_and_the_run_goes_on_exactly(shards, tmp_path):
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    options = ["--epochs", 6, "--patience", 0, "--out"]
    with launcher(shards, tmp_path) as launch:
        process = launch(*options, run)
        wait_for_epochs(run, 1, process)
        os.kill(workers_of(process)[1], signal.SIGTERM)
        out, err = process.communicate(timeout=120)
        assert process.returncode != 0
        assert out == ""
        state = read_checkpoint(run / "last.pt")["training"]["train_state"]
        assert 1 <= state["epoch"] < 6
        for speaker in ("Error: ", "Error: Process 1 of 2: "):
            assert f"{speaker}Interrupted after step {state['step']}; the state is saved." in err
        for rest in (launch("--resume", run), launch(*options, undisturbed)):
            # said once, by the main process
            assert rest.communicate(timeout=120)[0].count("6 epochs") == 1
            assert rest.returncode == 0
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(undisturbed / table)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_data_that_become_unreadable_end_all_and_the_run_goes_on_exactly(
    shards, site_shards, tmp_path
):
    site, gone = tmp_path / "site", tmp_path / "gone"
    shutil.copytree(site_shards, site)
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    options = ["--data", site, "--epochs", 6, "--patience", 0, "--out"]
    with launcher(shards, tmp_path) as launch:
        process = launch(*options, run)
        wait_for_epochs(run, 1, process)
        site.rename(gone)
        _, err = process.communicate(timeout=300)
        assert process.returncode != 0
        assert f"Shard {site}" in err
        assert "can no longer be read" in err
        assert f"deepchest train --resume {run}" in err
        gone.rename(site)
        for rest in (launch("--data", site, "--resume", run), launch(*options, undisturbed)):
            assert rest.communicate(timeout=300)[0].count("6 epochs") == 1
            assert rest.returncode == 0
    for table in ("metrics.csv", "weights.csv"):
        assert untimed(run / table) == untimed(undisturbed / table)

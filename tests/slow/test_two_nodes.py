"""A run on two nodes of which a process is killed."""

import os
import signal

import pytest
from launching import launcher, wait_for_epochs, workers_of
from two_nodes import OPTIONS, assert_same_run, ended, two_nodes
from two_processes import TORCHRUN


@pytest.fixture(scope="module")
def one_node(shards, tmp_path_factory):
    """A run of two processes on one node."""
    folder = tmp_path_factory.mktemp("one-node")
    with launcher(shards, folder, command=TORCHRUN) as launch:
        error = launch(*OPTIONS, "--out", folder / "run").communicate(timeout=200)[1]
    assert (folder / "run" / "best.pt").exists(), error
    return folder / "run"


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_that_is_killed_is_started_again_with_the_others(
    shards, tmp_path, one_node, number
):
    """torchrun starts all of them again, and they go on from the last checkpoint."""
    run = tmp_path / "run"
    with two_nodes([shards] * 2, [tmp_path] * 2, restarts=2) as launch:
        processes = launch("--out", run, "--resume", "auto")
        wait_for_epochs(run, 1, processes[0])

        (worker,) = workers_of(processes[number])
        os.kill(worker, signal.SIGKILL)
        codes, said = ended(processes)
    assert codes == [0, 0], said
    assert_same_run(run, one_node)

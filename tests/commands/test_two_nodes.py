"""`deepchest train` on two nodes: the run of one, and nodes that do not see the same."""

import shutil

import pytest
from launching import launcher
from two_nodes import OPTIONS, assert_same_run, ended, two_nodes
from two_processes import TORCHRUN
from waiting import LIMIT


@pytest.fixture(scope="module")
def one_node(shards, tmp_path_factory):
    """A run of two processes on one node."""
    folder = tmp_path_factory.mktemp("one-node")
    with launcher(shards, folder, command=TORCHRUN) as launch:
        error = launch(*OPTIONS, "--out", folder / "run").communicate(timeout=LIMIT)[1]
    assert (folder / "run" / "best.pt").exists(), error
    return folder / "run"


def test_a_run_on_two_nodes_is_that_of_two_processes_on_one(shards, tmp_path, one_node):
    with two_nodes([shards] * 2, [tmp_path] * 2) as launch:
        codes, said = ended(launch("--out", tmp_path / "run"))
    assert codes == [0, 0], said
    assert sum(out.count("20 epochs") for out, _ in said) == 1  # said by the first process alone
    assert_same_run(tmp_path / "run", one_node)


def test_a_node_with_other_data_is_named_before_there_is_a_run(shards, site_shards, tmp_path):
    """Each node has copied the data to its own disk, one of them an older version."""
    nodes = [tmp_path / "a", tmp_path / "b"]
    for node, data in zip(nodes, (shards, site_shards), strict=True):
        node.mkdir()
        shutil.copytree(data, node / "data")
    with two_nodes(["data"] * 2, nodes) as launch:
        codes, said = ended(launch("--out", "run"))
    assert 0 not in codes
    errors = "".join(error for _, error in said)
    assert "has other data in data than process 0 on" in errors
    assert "Give all machines the same" in errors
    assert not any((node / "run").exists() for node in nodes)


def test_a_node_that_does_not_see_the_run_is_named_and_nothing_is_lost(shards, tmp_path, one_node):
    nodes = [tmp_path / "a", tmp_path / "b"]
    for node in nodes:
        shutil.copytree(one_node, node / "run")
    for name in ("last.pt", "metrics.csv"):
        (nodes[1] / "run" / name).unlink()
    before = (nodes[0] / "run" / "last.pt").read_bytes()
    with two_nodes([shards] * 2, nodes) as launch:
        codes, said = ended(launch("--resume", "run"))
    assert 0 not in codes, said
    errors = "".join(error for _, error in said)
    assert "finds run at step" in errors
    assert "Name a folder of a file system that all machines see." in errors
    assert (nodes[0] / "run" / "last.pt").read_bytes() == before

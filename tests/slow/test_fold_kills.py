"""A run with folds that is killed at a write, in any fold, and begun again."""

import pytest
from killing import KilledError, killed_at

import deepchest_cli

SHORT = {"backbone": "small_cnn", "epochs": 2, "batch_size": 16, "image_size": 28, "folds": 2}
SHORT |= {"precision": "fp32", "weights": "none"}
FEWEST = 30  # writes; a second epoch need not be the best
SAME = ("out-of-fold.csv", "config.toml", "fold-1/best.pt", "fold-2/best.pt")


@pytest.fixture(autouse=True)
def quick_figures(no_rendering):
    """Draw figures, and render none."""


@pytest.fixture(scope="module")
def undisturbed(few_shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return deepchest_cli.train(few_shards, out=folder, **SHORT)


@pytest.mark.parametrize("write", range(1, 40, 2))
def test_a_run_killed_at_a_write_ends_as_an_undisturbed_one(
    few_shards, undisturbed, tmp_path, write
):
    try:
        with killed_at(write):
            deepchest_cli.train(few_shards, out=tmp_path / "run", resume="auto", **SHORT)
        assert write > FEWEST
    except KilledError:
        assert list(tmp_path.rglob(".*.tmp"))
    again = deepchest_cli.train(few_shards, out=tmp_path / "run", resume="auto", **SHORT)
    for name in SAME:
        assert (again.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    assert not list(again.folder.rglob(".*"))
    assert again.auroc == undisturbed.auroc

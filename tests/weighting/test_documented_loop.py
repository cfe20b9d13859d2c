"""The plain training loop in the documents, with every kind of weighter."""

import pytest
import torch
from documented_loops import run_loop

# the published method, learned weights, a second look, gradients of tasks, previous weights,
# a context, and DeepChest above another
KINDS = ("deepchest", "uncertainty", "famo", "upgrad", "gradnorm", "rarity", "deepchest+pcgrad")


@pytest.fixture
def demo(few_shards, tmp_path, monkeypatch):
    """A working directory with a small data set where the program expects the demo's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/demo-shards").symlink_to(few_shards)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_the_plain_loop_trains_with_a_weighter_of_any_kind(demo, name, capsys):
    torch.manual_seed(0)
    names = run_loop("Plain torch", name)
    weighter = names["weighter"]
    assert "Effusion" in capsys.readouterr().out
    assert weighter.tasks == names["data"].findings
    assert torch.isfinite(weighter.weights).all()
    assert weighter.weights.unique().numel() > 1  # they have moved apart
    learned = list(weighter.parameters())
    assert (names["optimizer"].param_groups[1]["params"] == learned) and bool(learned) == (
        name == "uncertainty"
    )
    assert names["results"].performance().training == {}  # the epoch has been handed over

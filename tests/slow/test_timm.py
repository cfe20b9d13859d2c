"""Kinds of timm's networks, made small, from training to export."""

import json
import shutil

import numpy as np
import pytest
from killing import KilledError, assert_equal_runs, killed_at
from timm_folders import SMALL, write_folder

from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.checkpoint_format import LAST

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("architecture", SMALL)
def test_a_network_of_timm_goes_all_the_way(deepchest, shards, nih_folder, tmp_path, architecture):
    backbone = write_folder(tmp_path / "hub", architecture)
    run, killed = tmp_path / "run", tmp_path / "killed"
    flags = ["--data", shards, "--backbone", backbone, "--image-size", SMALL[architecture][1]]
    flags += ["--batch-size", 16, "--epochs", 2, "--max-steps", 4, "--weights", "none"]
    assert deepchest("train", *flags, "--out", run).code == 0
    with pytest.raises(KilledError), killed_at(9):
        deepchest("train", *flags, "--out", killed)
    assert 0 < read_checkpoint(killed / LAST)["training"]["train_state"]["step"] < 4
    shutil.rmtree(tmp_path / "hub")  # a checkpoint rebuilds its network without it
    assert deepchest("train", "--resume", killed).code == 0
    assert_equal_runs(run, killed)
    assert deepchest("evaluate", "--model", run, "--data", shards).code == 0
    expected = probabilities(deepchest, run, nih_folder)
    for form, name in (("onnx", "model.onnx"), ("torch", "model.pt2")):
        # an export compares the logits of its file with the checkpoint's
        outcome = deepchest("export", "--model", run, "--format", form)
        assert outcome.code == 0, outcome.err
        assert (run / name).is_file()
    found = probabilities(deepchest, run / "model.onnx", nih_folder)
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected, axis=0).max() > 1e-4  # else agreement would say nothing


def probabilities(deepchest, model, source):
    """Return what `predict` says of three images (3, T)."""
    images = sorted((source / "images").glob("*.png"))[:3]
    outcome = deepchest("predict", *images, "--model", model, "--format", "json")
    assert outcome.code == 0, outcome.err
    return np.array([list(i["probabilities"].values()) for i in json.loads(outcome.out)["images"]])

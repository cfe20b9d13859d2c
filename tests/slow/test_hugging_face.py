"""Networks of transformers through training, resuming, evaluation, prediction and export."""

import json

import numpy as np
import pytest
from hugging_face_folders import CONFIGS, save_folder
from killing import KilledError, assert_equal_runs, killed_at
from PIL import Image

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run

pytest.importorskip("transformers")

SIZES = {"rad-dino": 28, "registers": 28}  # what their patches divide; the others take 32
IN_THE_SECOND_EPOCH = 10  # write


def begin(config):
    components = build_components(config)
    Trainer(components, create_run(components.config)).fit()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_network_of_transformers_goes_all_the_way(tmp_path, shards, deepchest, kind):
    folder = save_folder(tmp_path / "model", kind)
    run, whole = tmp_path / "runs" / "run", tmp_path / "runs" / "whole"
    config = TrainConfig(
        data=(str(shards),), out=run, backbone=f"hf/{folder}", image_size=SIZES.get(kind, 32),
        batch_size=16, epochs=2, max_steps=4, learning_rate=1e-3, precision="fp32",
    )  # fmt: skip
    with pytest.raises(KilledError), killed_at(IN_THE_SECOND_EPOCH):
        begin(config)
    flags = ("--image-size", config.image_size, "--batch-size", 16, "--epochs", 2)
    flags = (*flags, "--max-steps", 4, "--learning-rate", 1e-3, "--precision", "fp32")
    done(deepchest("train", "--data", shards, "--out", whole, "--backbone", f"hf/{folder}", *flags))
    saved = (run / "config.toml").read_text()
    assert 'weights = "pretrained"' in saved and "weights_sha256" in saved
    folder.rename(tmp_path / "gone")  # all that follows needs the run alone
    done(deepchest("train", "--resume", run))
    assert_equal_runs(run, whole)
    found = done(deepchest("evaluate", "--data", shards, "--model", run, "--format", "json"))
    assert json.loads(found)["images"] > 0
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    found = json.loads(done(deepchest("predict", image, "--model", run, "--format", "json")))
    assert len(found["images"]) == 1
    for form in ("torch", "onnx"):
        exported = deepchest("export", "--model", run, "--format", form)
        done(exported)
        assert "Logits agree" in exported.err


def done(outcome):
    assert outcome.code == 0, outcome.err
    return outcome.out

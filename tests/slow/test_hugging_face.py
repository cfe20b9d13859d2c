"""Networks of transformers through training, evaluation, prediction, export and resuming."""

import json

import numpy as np
import pytest
from hugging_face_folders import CONFIGS, save_folder
from PIL import Image

pytest.importorskip("transformers")

SIZES = {"rad-dino": 28, "registers": 28, "dinov3-convnext": 32}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_network_of_transformers_goes_all_the_way(tmp_path, shards, deepchest, kind):
    folder, run = save_folder(tmp_path / "model", kind), tmp_path / "run"
    data = ("--data", shards)
    trained = deepchest(
        "train", *data, "--backbone", f"hf/{folder}", "--out", run, "--image-size",
        SIZES.get(kind, 32), "--max-steps", 3, "--batch-size", 8, "--epochs", 2,
        "--learning-rate", 1e-3, "--precision", "fp32",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    config = (run / "config.toml").read_text()
    assert 'weights = "pretrained"' in config and "weights_sha256" in config
    folder.rename(tmp_path / "gone")  # all that follows needs the run alone
    resumed = deepchest("train", "--resume", run, "--max-steps", 5)
    assert resumed.code == 0, resumed.err
    evaluated = deepchest("evaluate", *data, "--model", run, "--bootstrap-replicates", 20)
    assert evaluated.code == 0, evaluated.err
    image = tmp_path / "image.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    predicted = deepchest("predict", image, "--model", run, "--json")
    assert predicted.code == 0, predicted.err
    assert len(json.loads(predicted.out)["images"]) == 1
    for form in ("torch", "onnx"):
        exported = deepchest("export", "--model", run, "--format", form)
        assert exported.code == 0, exported.err

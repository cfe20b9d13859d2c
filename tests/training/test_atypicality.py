import json

import numpy as np
import torch

from deepchest_cli import load_model
from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.model import checkpoint
from deepchest_cli.model.reference import Reference


def test_a_run_leaves_what_it_knows_of_its_images(trained, shards):
    loaded = checkpoint.load_model(trained, torch.device("cpu"))
    dataset = open_dataset(shards)
    reference = Reference.from_plain(loaded.reference)
    assert reference.training_images == len(dataset.rows("train"))
    assert reference.validation_images == len(dataset.rows("validation"))
    assert np.isfinite(reference.threshold)
    (images,) = loaded.training_images  # of each data set
    assert len(images["names"]) == len(dataset.rows("train"))


def test_images_of_training_and_validation_are_recognized(trained, shards):
    source = shards.parent / "nih" / "images"
    dataset = open_dataset(shards)
    model = load_model(trained, device="cpu")
    for split, code in (
        ("train", "in-training-set"),
        ("validation", "in-validation-set"),
        ("test", ""),
    ):
        name = str(dataset.columns["image_index"][dataset.rows(split)[0]])
        (prediction,) = model.predict(source / name)
        codes = [warning.code for warning in prediction.warnings if warning.code.endswith("-set")]
        assert codes == ([code] if code else []), split


def test_files_and_shards_give_the_same(trained, shards):
    from deepchest_cli.data.reader import ImageReader
    from deepchest_cli.evaluation.predictions import predict_rows

    dataset, cpu = open_dataset(shards), torch.device("cpu")
    names = dataset.columns["image_index"][:5]
    classifier = checkpoint.load_model(trained, cpu).classifier
    stored = predict_rows(classifier, ImageReader(dataset, cpu), np.arange(5), 4).probabilities
    predictions = load_model(trained, device="cpu", batch_size=4).predict(
        shards.parent / "nih" / "images" / name for name in names
    )
    assert np.array_equal(
        stored, [list(prediction.probabilities.values()) for prediction in predictions]
    )
    assert json.dumps([prediction.to_plain() for prediction in predictions])

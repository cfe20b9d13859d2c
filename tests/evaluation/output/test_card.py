"""The model card says what was run and what was scored, and nothing that it does not know."""

import pytest

from deepchest_cli.evaluation.document import EvaluationOptions, build_document
from deepchest_cli.evaluation.evaluation_input import EvaluationInput
from deepchest_cli.evaluation.output.card import model_card, training_section
from deepchest_cli.evaluation.overlap import UNCHECKED

CONFIG = {"epochs": 15, "max_steps": 60, "patience": 3, "batch_size": 64, "precision": "bf16"}
DATA = {
    "name": "nih", "sha256": "f" * 64, "settings": {"split_scheme": "official"},
    "source": {"kind": "nih", "label_version": "2020", "synthetic": False, "patients": True},
}  # fmt: skip
ORIGIN = {"deepchest": "0.1.0", "epoch": 3, "data_sets": [DATA], "config": CONFIG}


def training(**changes):
    return "\n".join(training_section([{**ORIGIN, **changes}]))


def ran(epochs, steps, early=False):
    return {"epochs": epochs, "steps": steps, "stopped_early": early}


RUNS = {
    "4 epochs, 60 steps; ended at the maximum number of steps (planned: 15 epochs, at most "
    "60 steps). The model is that of epoch 3, after 57 steps": {"run": ran(4, 60), "step": 57},
    "9 epochs, 50 steps; stopped early, without a better epoch for 3 epochs": {
        "run": ran(9, 50, early=True), "step": 57,
    },
    "15 epochs, 45 steps; ended as planned (planned: 15 epochs). The": {
        "run": ran(15, 45), "step": 9, "config": {**CONFIG, "max_steps": None},
    },
    "the model was taken at epoch 3, after 57 steps, of a run that had not ended then": {
        "step": 57
    },
    # of an earlier version
    "the model is that of epoch 3; the length of its run is not known (planned: 15 epochs": {},
    "1 epoch, 1 step; ended as planned (planned: 1 epoch)": {
        "run": ran(1, 1), "step": 1, "config": {"epochs": 1},
    },
    "(the plan is not known)": {"config": {}},
}  # fmt: skip


@pytest.mark.parametrize("said", RUNS)
def test_what_was_run_is_said(said):
    text = training(**RUNS[said])
    assert f"- Run: {said}" in text or (said.startswith("(") and said in text)
    assert "epochs 15" not in text


def test_the_data_of_training():
    assert "1,247 different training images; split scheme official by patient" in training(
        training_images=[1247]
    )
    unnamed = {**DATA["source"], "patients": False, "synthetic": True}
    text = training(data_sets=[{**DATA, "source": unnamed}])
    assert "split scheme official by image, patients being unknown" in text
    assert ", synthetic radiographs;" in text
    assert "Settings: batch size 64, precision bf16" in text
    assert "Data and procedure are not known" in "\n".join(training_section([]))


def described(make_scored_images, source="nih", label_version="2020", own=False, synthetic=False):
    description = {
        "model": None, "models": [], "predictions": None, "labels": None, "data": "d",
        "data_sha256": "0" * 64, "split": "test", "split_scheme": "official", "source": source,
        "label_version": label_version, "synthetic": synthetic, "labels_without_predictions": 0,
        "overlap": {**UNCHECKED, "pixel_hashes_compared": True, "is_training_data_set": own},
    }  # fmt: skip
    material = EvaluationInput(make_scored_images(), description, None, "", None)
    return {**build_document(material, EvaluationOptions(bootstrap_replicates=0)), "models": []}


def card(document, origin):
    return model_card({**document, "models": [MODEL]}, [origin])


MODEL = {
    "path": "m.pt", "backbone": "b", "image_size": 64, "weighter": "w", "epoch": 3,
    "sha256": "0" * 64, "synthetic": False,
}  # fmt: skip


def test_what_is_said_of_nihs_labels_is_said_of_nihs_alone(make_scored_images):
    said = "Labels of NIH ChestX-ray14 were extracted from reports"
    assert said in card(described(make_scored_images), ORIGIN)
    for source, version in (("csv", "unknown"), ("chexpert", "unknown"), (None, "unknown")):
        assert said not in card(described(make_scored_images, source, version), ORIGIN)
    assert said in card(described(make_scored_images, None, "2017"), ORIGIN)


def test_scores_on_another_source_are_an_external_validation(make_scored_images):
    assert "External validation: none here" in card(described(make_scored_images, own=True), ORIGIN)
    other = card(described(make_scored_images, "padchest", "unknown"), ORIGIN)
    assert "these images are of source padchest, those of training are not" in other
    assert "is not known." in model_card(described(make_scored_images, None), [])


def test_a_model_of_synthetic_radiographs_is_called_so(make_scored_images):
    document = {**described(make_scored_images), "models": [{**MODEL, "synthetic": True}]}
    assert "it has learned nothing about patients" in model_card(document, [ORIGIN])
    assert "nothing here says anything about patients" in card(
        described(make_scored_images, synthetic=True), ORIGIN
    )

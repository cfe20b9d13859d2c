"""Checkpoints and ONNX files of version 0.1 open, predict, evaluate and take a new fit."""

import json
import lzma
from pathlib import Path

import pytest
import torch

from deepchest_cli import load_model
from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.checkpoint import load_model as load_checkpoint
from deepchest_cli.model.checkpoint import read_checkpoint

FOLDER = Path(__file__).parent.parent / "files" / "version-0.1"
CPU = torch.device("cpu")
RENAMED = {  # keys of an evaluation
    "choices": "validation_fit",
    "checked": "pixel_hashes_compared",
    "own_data": "is_training_data_set",
    "numbered": "patients_compared",
    "training": "training_images",
    "validation": "validation_images",
    "named": "same_name_and_patient",
    "alike": "same_name_only",
    "chance": "random_baseline",
    "pointing": "pointing_game_accuracy",
    "accuracy_of_nothing": "accuracy_all_negative",
    "f1_macro": "f1_class_mean",
    "f1_macro_of_nothing": "f1_class_mean_all_negative",
    "f1_weighted_of_nothing": "f1_weighted_all_negative",
    "loss_of_prevalence": "prevalence_baseline_loss",
    "loss_ratio": "normalized_cross_entropy",
    "lift": "ap_over_prevalence",
    "shared_rule": "reference_operating_point",
    "replicates": "bootstrap_replicates",
    "left_out": "excluded",
    "without_cam": "cam_unavailable_reason",
    "undefined": "undefined_replicates",
}


@pytest.fixture
def old(tmp_path):
    """A folder with the files of version 0.1, as that version wrote them."""
    for packed in FOLDER.glob("*.xz"):
        (tmp_path / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "expected"),
    [("best.pt", "predictions.json"), ("model.onnx", "predictions-onnx.json")],
)
def test_predictions_are_those_of_version_0_1(old, file, expected):
    if file == "model.onnx":
        pytest.importorskip("onnxruntime")
    before = json.loads((FOLDER / expected).read_text())["images"]
    found = load_model(old / file, device="cpu").predict(FOLDER / "images")
    for one, other in zip(found, before, strict=True):
        assert one.sha256 == other["sha256"]
        # other processors have other last bits
        assert one.probabilities == pytest.approx(other["probabilities"], abs=1e-7)
        thresholds = other["operating_point"]["thresholds"]  # null where there is none
        expected = {name: float("nan") if t is None else t for name, t in thresholds.items()}
        assert one.thresholds == pytest.approx(expected, abs=1e-9, nan_ok=True)
        assert one.threshold_source == other["operating_point"]["source"]
        assert one.flagged == other["flagged"]
        assert list(one.calibrated) == other["calibrated"]
        assert one.feature_distance == pytest.approx(other["distance"], rel=1e-4)
        assert len(one.warnings) == len(other["warnings"])
    assert "in-training-set" in [warning.code for warning in found[1].warnings]


def numbers(value, path=()):
    """Yield the numbers of a document by their keys, the old ones renamed."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from numbers(entry, (*path, RENAMED.get(key, key)))
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from numbers(entry, (*path, place))
    elif isinstance(value, int | float):
        yield path, value


def test_an_evaluation_is_that_of_version_0_1_and_stores_a_new_fit(deepchest, old):
    words = ("evaluate", "--model", old / "best.pt", "--data", old, "--bootstrap-replicates", 20)
    before = json.loads((old / "evaluation.json").read_text())
    first = json.loads(deepchest(*words, "--json").out)
    assert "kept in" in first["validation_fit"]["note"]
    for part in ("findings", "macro", "operating_points", "calibration", "subgroups", "baseline"):
        # intervals and the bins of reliability diagrams are by other methods since
        expected = {
            k: v
            for k, v in numbers(before[part])
            if k[-1] not in ("low", "high") and "bins" not in k
        }
        found = dict(numbers(first[part]))
        # this model's logits hardly differ, so that single precision moves the slope on them
        loose = {k for k in expected if k[-1] in ("slope", "intercept")}
        for keys, rel in ((loose, 0.02), (expected.keys() - loose, 1e-5)):
            assert {k: found[k] for k in keys} == pytest.approx(
                {k: expected[k] for k in keys}, rel=rel, abs=1e-7
            ), part
    other = json.loads(deepchest(*words, "--calibration", "temperature", "--json").out)
    assert "now stored" in other["validation_fit"]["note"]
    content = torch.load(old / "best.pt", weights_only=True)
    assert content["format_version"] == 2
    assert content["validation_fit"]["calibration_method"] == "temperature"
    assert not {"choices", "seen"} & content.keys()
    assert load_model(old / "best.pt", device="cpu").predict(FOLDER / "images")[0].feature_distance


def test_a_new_checkpoint_has_the_keys_of_one_of_version_0_1(old, trained):
    model = load_checkpoint(old / "best.pt", CPU)
    new = read_checkpoint(trained / "best.pt")
    assert model.reference.keys() == new["reference"].keys()
    assert model.training_images[0].keys() == new["training_images"][0].keys()
    assert model.data_sets[0].keys() == new["origin"]["data_sets"][0].keys()
    added = new["architecture"].keys() - read_checkpoint(old / "best.pt")["architecture"].keys()
    assert added == {"channels", "pool", "backbone_config"}  # which have defaults


@pytest.mark.parametrize("section", ["architecture", "origin", "tensors"])
def test_a_damaged_checkpoint_is_said_to_be(old, section):
    content = torch.load(old / "best.pt", weights_only=True)
    for damaged in ({**content, section: None}, {k: v for k, v in content.items() if k != section}):
        torch.save(damaged, old / "best.pt")
        with pytest.raises(DeepChestError, match="is damaged"):
            load_model(old / "best.pt", device="cpu")
    (old / "best.pt").write_bytes((old / "best.pt").read_bytes()[:5000])
    with pytest.raises(DeepChestError, match="damaged or cut short"):
        load_model(old / "best.pt", device="cpu")

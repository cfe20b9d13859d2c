import numpy as np
import pytest
import torch

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.localization import boxes_of, localization, locate
from deepchest_cli.model.checkpoint import load_model

CPU = torch.device("cpu")


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


def test_boxes_are_those_of_the_scored_images(dataset):
    rows = dataset.rows("test")
    boxes = boxes_of(dataset, rows, dataset.findings)
    name = dataset.columns["image_index"][rows[boxes.places[0]]]
    assert (name, boxes.findings.tolist()) == ("00000004_001.png", ["Infiltration"])
    np.testing.assert_allclose(boxes.corners, [[8, 16, 4, 2]])  # 1024 px to 32 px
    assert boxes.excluded == 0


def test_boxes_of_other_images_and_findings_are_counted(dataset):
    rows = dataset.rows("test")
    without = boxes_of(dataset, rows[dataset.columns["patient_id"][rows] != 4], dataset.findings)
    assert (len(without.places), without.excluded) == (0, 1)
    other = boxes_of(dataset, rows, ("Mass",))
    assert (len(other.places), other.excluded) == (0, 1)


def test_maps_are_scored_beside_noise_and_chance(dataset, trained):
    rows = dataset.rows("test")
    classifier = load_model(trained, CPU).classifier
    located = locate(classifier, dataset, rows, CPU, lambda *_: None)
    draws = resample_patients(dataset.columns["patient_id"][rows], 10, seed=0)
    found = localization(located, draws)
    assert found["boxes"] == found["images"] == 1
    assert found["chance"]["all"] == pytest.approx(8 / 1024)
    assert {"grad_cam", "random"} <= found["maps"].keys()
    shares = found["maps"]["grad_cam"]["findings"]["Infiltration"]
    assert shares["pointing"]["value"] in (0, 1)
    assert shares["iou_0.1"]["value"] >= shares["iou_0.5"]["value"]
    again = locate(classifier, dataset, rows, CPU, lambda *_: None)
    assert localization(again, draws) == found


def test_no_boxes_no_maps(dataset, trained):
    classifier = load_model(trained, CPU).classifier
    assert locate(classifier, dataset, dataset.rows("train"), CPU, lambda *_: None) is None

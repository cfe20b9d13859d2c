import numpy as np
import pytest
import torch

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.localization import (
    BoxScore,
    localization,
    locate,
    score_map,
    scored_boxes,
)
from deepchest_cli.model.checkpoint import load_model

CPU = torch.device("cpu")


@pytest.fixture
def dataset(shards):
    return open_dataset(shards)


def test_boxes_are_those_of_the_scored_images(dataset):
    rows = dataset.rows("test")
    boxes = scored_boxes(dataset, rows, dataset.findings)
    name = dataset.columns["image_index"][rows[boxes.places[0]]]
    assert (name, boxes.findings.tolist()) == ("00000004_001.png", ["Infiltration"])
    np.testing.assert_allclose(boxes.corners, [[8, 16, 4, 2]])  # 1024 px to 32 px
    assert boxes.excluded == 0


def test_boxes_of_other_images_and_findings_are_counted(dataset):
    rows = dataset.rows("test")
    without = scored_boxes(
        dataset, rows[dataset.columns["patient_id"][rows] != 4], dataset.findings
    )
    assert (len(without.places), without.excluded) == (0, 1)
    other = scored_boxes(dataset, rows, ("Mass",))
    assert (len(other.places), other.excluded) == (0, 1)


def test_maps_are_scored_beside_both_random_baselines(dataset, trained):
    rows = dataset.rows("test")
    classifier = load_model(trained, CPU).classifier
    located = locate(classifier, dataset, rows, CPU, lambda *_: None)
    draws = resample_patients(dataset.columns["patient_id"][rows], 10, seed=0)
    found = localization(located, draws)
    assert found["boxes"] == found["images"] == 1
    assert found["random_baseline"]["all"] == pytest.approx(8 / 1024)
    assert {"grad_cam", "random"} <= found["maps"].keys()
    shares = found["maps"]["grad_cam"]["findings"]["Infiltration"]
    assert shares["pointing_game_accuracy"]["value"] in (0, 1)
    assert shares["iou_0.1"]["value"] >= shares["iou_0.5"]["value"]
    again = locate(classifier, dataset, rows, CPU, lambda *_: None)
    assert repr(localization(again, draws)) == repr(found)  # NaN is unequal to itself


def test_no_boxes_no_maps(dataset, trained):
    classifier = load_model(trained, CPU).classifier
    assert locate(classifier, dataset, dataset.rows("train"), CPU, lambda *_: None) is None


def square(size, top, left, side):
    values = np.zeros((size, size))
    values[top : top + side, left : left + side] = 1
    return values


def test_a_region_that_is_the_box():
    values = square(16, 4, 8, 4)
    score = score_map(values, values, np.array([8, 4, 4, 4.0]))
    assert (score.hit, score.iou, score.iobb) == (True, 1.0, 1.0)


def test_overlap_by_hand():
    values = square(16, 4, 8, 4)
    score = score_map(values, values, np.array([10, 4, 4, 4.0]))  # half of the box, 8 of 24
    assert score.iou == pytest.approx(8 / 24)
    assert score.iobb == pytest.approx(0.5)
    assert not score.hit  # the peak's pixel is at 8.5


def test_the_middle_of_the_highest_cell_points():
    cells = np.array([[1.0, 0.0], [0.0, 0.5]])
    large = np.kron(cells, np.ones((8, 8)))
    assert score_map(cells, large, np.array([3, 3, 2, 2.0])).hit
    assert not score_map(cells, large, np.array([0, 0, 2, 2.0])).hit


def test_only_the_component_around_the_peak_counts():
    values = square(16, 0, 0, 4) + 0.9 * square(16, 10, 10, 4)
    assert score_map(values, values, np.array([0, 0, 4, 4.0])).iou == 1


def test_a_level_map_is_a_miss():
    level = np.full((4, 4), 0.3)
    assert score_map(level, level, np.array([0, 0, 4, 4.0])) == BoxScore(False, 0.0, 0.0)


def test_noise_points_as_often_as_the_box_is_large():
    chance, box = np.random.default_rng(0), np.array([8, 8, 16, 8.0])
    hits = []
    for _ in range(2000):
        cells = chance.random((32, 32))
        hits.append(score_map(cells, cells, box).hit)
    assert np.mean(hits) == pytest.approx(128 / 1024, abs=0.02)

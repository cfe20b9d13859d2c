import numpy as np
import pytest

from deepchest_cli.evaluation.boxes import MISS, score_map


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


def test_only_the_part_around_the_peak_counts():
    values = square(16, 0, 0, 4) + 0.9 * square(16, 10, 10, 4)
    assert score_map(values, values, np.array([0, 0, 4, 4.0])).iou == 1


def test_a_level_map_is_a_miss():
    level = np.full((4, 4), 0.3)
    assert score_map(level, level, np.array([0, 0, 4, 4.0])) == MISS


def test_noise_points_as_often_as_the_box_is_large():
    chance, box = np.random.default_rng(0), np.array([8, 8, 16, 8.0])
    hits = []
    for _ in range(2000):
        cells = chance.random((32, 32))
        hits.append(score_map(cells, cells, box).hit)
    assert np.mean(hits) == pytest.approx(128 / 1024, abs=0.02)

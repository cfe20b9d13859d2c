import numpy as np

from deepchest_cli.data.sampling import Group, Sampling, uniform


def test_the_order_depends_on_seed_and_epoch_only():
    rows = np.arange(100)
    sampling = uniform(rows)
    assert np.array_equal(sampling.order(1, 2), uniform(rows).order(1, 2))
    assert sorted(sampling.order(1, 2)) == list(rows)
    assert not np.array_equal(sampling.order(1, 2), sampling.order(1, 3))
    assert not np.array_equal(sampling.order(1, 2), sampling.order(2, 2))


def test_sampling_probabilities_draw_rows_with_replacement_the_same_every_time():
    rows, probabilities = np.arange(100), np.repeat([0.019, 0.001], 50)
    sampling = Sampling((Group(rows, 100, probabilities),))
    order = sampling.order(0, 3)
    assert np.array_equal(order, sampling.order(0, 3))
    assert len(order) == 100
    assert np.mean(order < 50) > 0.85
    assert len(set(order)) < 100

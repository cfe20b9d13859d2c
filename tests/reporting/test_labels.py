from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepchest_cli.reporting.labels import spread


@given(
    st.lists(st.floats(-1e4, 1e4) | st.sampled_from([0.0, 1.5]), min_size=1, max_size=30),
    st.floats(0, 50),
)
def test_spreading_keeps_order_distance_and_bounds(wanted, distance):
    low, high = 0.0, 30 * 50.0
    places = spread(np.array(wanted), distance, low, high)
    order = np.argsort(wanted, kind="stable")
    assert all(b - a >= distance - 1e-6 for a, b in pairwise(places[order]))
    assert places.min() >= low - 1e-6
    assert places.max() <= high + 1e-6


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=30, unique=True))
def test_places_that_are_apart_already_do_not_move(wanted):
    np.testing.assert_array_equal(spread(np.array(wanted, dtype=float), 1.0), wanted)


def test_labels_that_collide_move_as_little_as_possible():
    assert spread(np.array([5.0, 5.0, 5.0, 40.0]), 10.0).tolist() == [-5, 5, 15, 40]


def test_what_does_not_fit_keeps_its_distance_and_passes_the_upper_bound():
    assert spread(np.zeros(3), 22, 0, 22).tolist() == [0, 22, 44]


def test_spreading_nothing_is_nothing():
    assert spread(np.array([]), 1.0).size == 0

import warnings

import numpy as np
import pytest
from scipy.stats import norm, t

from deepchest_cli.evaluation.intervals import (
    auroc_interval,
    macro_interval,
    rate_intervals,
    wilson,
)

PATIENTS, RATES = (10, 20, 30, 50, 100), (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_one_image_a_patient_is_wilsons_interval():
    """As worked by hand for 10 of 10 and 15 of 20."""
    found = [rate_intervals(np.ones((10, 1)), np.ones((10, 1)))]
    found.append(rate_intervals(np.repeat([1.0, 0.0], [15, 5])[:, None], np.ones((20, 1))))
    z = norm.ppf(0.975)
    assert (found[0][0][0], found[0][1][0]) == pytest.approx((10 / (10 + z**2), 1))
    half = z * np.sqrt(20 * 0.75 * 0.25 + z**2 / 4)
    ends = [(15 + z**2 / 2 + sign * half) / (20 + z**2) for sign in (-1, 1)]
    assert (found[1][0][0], found[1][1][0]) == pytest.approx(tuple(ends))


def test_alike_images_count_as_one_and_independent_ones_count_for_more():
    chance = np.random.default_rng(0)
    images = np.full((200, 1), 5.0)
    alike = 5.0 * (chance.random((200, 1)) < 0.8)
    apart = chance.binomial(5, 0.8, (200, 1)).astype(float)
    (low,), (high,) = rate_intervals(alike, images)
    (single_low,), (single_high,) = rate_intervals(alike / 5, images / 5)
    assert (low, high) == pytest.approx((single_low, single_high), abs=2e-3)
    (low,), (high,) = rate_intervals(apart, images)
    assert high - low < 0.6 * (single_high - single_low)


def test_rates_at_the_ends_have_a_width_and_stay_within_bounds():
    images = np.full((12, 2), 3.0)
    low, high = rate_intervals(images * [0, 1], images)
    assert (low[0], high[1]) == (0, 1)
    # all alike, as far as can be seen: twelve patients, with (12 - 1) / (1 - 1 / 3) degrees
    squared = t.ppf(0.975, 16.5) ** 2
    assert low[1] == pytest.approx(12 / (12 + squared))
    assert high[0] == pytest.approx(1 - low[1])
    one, none = np.array([[3.0, 0.0], [0.0, 0.0]]), np.zeros((2, 2))
    assert np.isnan(rate_intervals(none, one)).all()  # one patient, and none at all


def covered_rates(sizes, correlation, repetitions=1500):
    """Return the coverages over the grid; images by patient are drawn by `sizes`."""
    chance, found = np.random.default_rng(3), []
    for patients in PATIENTS:
        for rate in RATES:
            shape = (patients, repetitions)
            images, own = sizes(chance, shape), np.full(shape, rate)
            if correlation:
                scale = (1 - correlation) / correlation
                own = chance.beta(rate * scale, (1 - rate) * scale, shape)
            low, high = rate_intervals(chance.binomial(images, own) * 1.0, images * 1.0)
            assert (high > low).all()
            found.append(np.mean((low <= rate) & (rate <= high)))
    return np.array(found)


def test_intervals_of_rates_cover_for_few_and_for_clustered_images():
    found = np.stack(
        [
            covered_rates(lambda chance, shape: np.ones(shape, int), 0),
            covered_rates(lambda chance, shape: chance.geometric(0.3, shape), 0.3),
            covered_rates(lambda chance, shape: chance.geometric(0.2, shape), 0.5),
            covered_rates(lambda chance, shape: chance.geometric(0.3, shape), 0.95),
        ]
    )
    assert 0.94 <= found.mean() <= 0.965
    assert found.min() >= 0.89
    assert (found.mean(axis=1) >= 0.94).all()


def covered_auroc(auroc, positives, sizes, correlation, repetitions=600):
    """Return how often the interval holds the AUROC of two normal variables, and its width."""
    chance, held, widths = np.random.default_rng(4), 0, []
    shift, patients = norm.ppf(auroc) * np.sqrt(2), 7 * positives
    for _ in range(repetitions):
        owners = np.repeat(np.arange(patients), sizes(chance, patients))
        labels = (owners < positives).astype(np.uint8)
        shared = np.sqrt(correlation) * chance.standard_normal(patients)[owners]
        own = np.sqrt(1 - correlation) * chance.standard_normal(len(owners))
        low, high = auroc_interval(labels, shift * labels + shared + own, owners)
        held += low <= auroc <= high
        widths.append(high - low)
    return held / repetitions, float(np.mean(widths))


@pytest.mark.parametrize("auroc", [0.75, 0.90, 0.97])
@pytest.mark.parametrize("positives", [10, 30])
def test_intervals_of_the_auroc_cover_near_one_and_for_few_positives(auroc, positives):
    single, width = covered_auroc(auroc, positives, lambda chance, n: np.ones(n, int), 0)
    several, _ = covered_auroc(auroc, positives, lambda chance, n: chance.geometric(0.4, n), 0.5)
    assert min(single, several) >= 0.93
    # that of 30 positives at 0.97 is 0.08 wide, which is no reason to cover
    assert width < 1.05 / np.sqrt(positives) * (1 if auroc < 0.9 else 0.75 if auroc < 0.97 else 0.5)


def test_a_perfect_auroc_of_ten_positives_is_newcombes():
    """Where no pair is wrong: (1 - x)^2 = z^2 variance(x), by Newcombe's method 5."""
    labels = np.repeat([1, 0], [10, 20]).astype(np.uint8)
    low, high = auroc_interval(labels, labels * 1.0, np.arange(30))
    assert high == 1
    spread = 1 + 14 * (1 - low) / (2 - low) + 14 * low / (1 + low)
    variance = low * (1 - low) * spread / 200
    assert (1 - low) ** 2 == pytest.approx(norm.ppf(0.975) ** 2 * variance, abs=1e-8)
    reverse = auroc_interval(labels, 1.0 - labels, np.arange(30))
    assert reverse == pytest.approx((0, 1 - low))


def test_equal_scores_have_an_interval_about_a_half():
    labels = np.repeat([1, 0], [10, 20]).astype(np.uint8)
    low, high = auroc_interval(labels, np.full(30, 0.3), np.arange(30) // 2)
    assert 0 < low < 0.5 < high < 1


@pytest.mark.parametrize("owners", [[0, 0, 0, 0], [0, 0, 1, 2], [0, 1, 2, 2]])
def test_one_patient_of_a_class_has_no_interval(owners):
    labels = np.array([1, 1, 0, 0], np.uint8)
    scores = np.array([0.4, 0.9, 0.3, 0.5])
    assert np.isnan(auroc_interval(labels, scores, np.array(owners))).all()


def test_without_a_class_there_is_no_interval():
    for labels in (np.ones(4, np.uint8), np.zeros(4, np.uint8)):
        assert np.isnan(auroc_interval(labels, np.arange(4.0), np.arange(4))).all()


def test_a_macro_mean_of_one_metric_has_its_interval():
    drawn = np.random.default_rng(0).normal(0.9, 0.1, (50, 1))
    ends = np.array([[0.7], [0.95]])
    assert macro_interval(np.array([0.9]), ends, drawn) == pytest.approx((0.7, 0.95))


def test_a_macro_mean_combines_distances_by_their_correlation():
    values, ends = np.array([0.9, 0.8]), np.array([[0.8, 0.7], [0.95, 0.9]])
    same = np.random.default_rng(0).normal(size=(50, 1)) * [1, 2]
    assert macro_interval(values, ends, same) == pytest.approx((0.75, 0.925))
    low, high = macro_interval(values, ends, np.full((50, 2), 0.5))  # no correlation to be seen
    assert low == pytest.approx(0.85 - np.hypot(0.1, 0.1) / 2)
    assert high == pytest.approx(0.85 + np.hypot(0.05, 0.1) / 2)


def test_a_metric_without_an_interval_widens_that_of_the_mean():
    values, drawn = np.array([0.9, 0.8, np.nan]), np.full((4, 3), np.nan)
    ends = np.array([[0.8, np.nan, np.nan], [0.95, np.nan, np.nan]])
    low, high = macro_interval(values, ends, drawn)
    assert low == pytest.approx(0.85 - np.hypot(0.1, 0.8) / 2)
    assert high == pytest.approx(0.85 + np.hypot(0.05, 0.2) / 2)
    nothing = np.full((2, 3), np.nan)
    assert np.isnan(macro_interval(values, nothing, drawn)).all()


def test_wilsons_ends_hold_the_rate():
    rates = np.array([0.0, 1 / 3, 1.0])
    low, high = wilson(rates, np.array([1e-3, 3.0, 1e12]), np.array([12.7, 2.0, 2.0]))
    assert (low <= rates).all()
    assert (rates <= high).all()
    assert ((low >= 0) & (high <= 1) & (high > low)).all()

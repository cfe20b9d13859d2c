import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from deepchest_cli.evaluation.calibration import (
    MAX_BINS,
    MIN_PER_BIN,
    Scaling,
    calibration_metrics,
    expected_calibration_error,
    fit_scaling,
    reliability,
    reliability_places,
    slope_and_intercept,
)
from deepchest_cli.evaluation.metrics import SMALLEST
from deepchest_cli.model.logistic import logit


def drawn(images=4000, slope=1.0, intercept=0.0, seed=0):
    """Return labels that follow the scaled probabilities, and the probabilities."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(1, 6, images)
    truth = Scaling(slope, intercept).applied(probabilities)
    return (random.random(images) < truth).astype(np.uint8), probabilities


def bins_of(labels, probabilities):
    return reliability(labels, reliability_places(labels, probabilities), probabilities)


def test_the_ece_is_over_scikit_learns_bins_of_equal_mass():
    labels, probabilities = drawn()
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    ece = expected_calibration_error(labels, probabilities)
    assert ece == pytest.approx(np.abs(observed - predicted).mean(), abs=1e-12)  # 400 images each


def test_equal_probabilities_share_a_bin():
    labels, probabilities = np.array([0, 1] * 50, np.uint8), np.full(100, 0.3)
    assert bins_of(labels, probabilities) == [
        {"predicted": pytest.approx(0.3), "observed": 0.5, "images": 100}
    ]
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.2)
    two = np.repeat([0.2, 0.7], 50)
    assert len(set(zip(reliability_places(labels, two), two, strict=True))) == 2


@pytest.mark.parametrize(("base", "most"), [(-6.5, 12), (-3.0, MAX_BINS), (0.5, MAX_BINS)])
@pytest.mark.parametrize("weight", [1, 300])
def test_bins_are_as_many_as_expected_positives_and_negatives_allow(base, most, weight):
    """Of 0.24 % positives, of 7 % and of 60 %; also where positives were weighted."""
    random = np.random.default_rng(2)
    logits = base + 1.1 * random.normal(size=20_000)
    truth = 1 / (1 + np.exp(-logits))
    labels = (random.random(20_000) < truth).astype(np.uint8)
    predictions = Scaling(1, np.log(weight)).applied(truth)
    places = reliability_places(labels, predictions)
    expected = np.bincount(places, truth)
    assert min(expected.min(), np.bincount(places, 1 - truth).min()) > 0.7 * MIN_PER_BIN
    count = places.max() + 1
    assert count <= most
    assert count >= min(MAX_BINS, 0.7 * labels.sum() / MIN_PER_BIN)
    if labels.sum() < 100:
        assert 3 <= count <= labels.sum() / MIN_PER_BIN
    order = np.argsort(predictions)
    assert (np.diff(places[order]) >= 0).all()  # a bin is a range of predictions


def test_few_positives_have_one_bin_and_scores_that_separate_have_bins():
    labels = np.zeros(500, np.uint8)
    labels[:9] = 1
    assert len(bins_of(labels, np.linspace(0.9, 0.1, 500))) == 1
    labels = np.repeat([1, 0], 250).astype(np.uint8)
    assert len(bins_of(labels, np.linspace(0.9, 0.1, 500))) == MAX_BINS


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_has_one_bin(value):
    bins = bins_of(np.full(30, value, np.uint8), np.linspace(0.1, 0.9, 30))
    assert bins == [{"predicted": pytest.approx(0.5), "observed": value, "images": 30}]


def test_calibrated_probabilities_have_slope_one_and_intercept_zero():
    slope, intercept = slope_and_intercept(*drawn(40_000))
    assert slope == pytest.approx(1, abs=0.05)
    assert intercept == pytest.approx(0, abs=0.05)


def test_slope_is_that_of_a_logistic_regression():
    labels, probabilities = drawn(slope=0.5, intercept=1)
    model = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
    model.fit(logit(probabilities, SMALLEST)[:, None], labels)
    scaling = fit_scaling(labels, probabilities, "platt")
    assert scaling.slope == pytest.approx(model.coef_[0, 0], abs=1e-6)
    assert scaling.intercept == pytest.approx(model.intercept_[0], abs=1e-6)
    assert slope_and_intercept(labels, probabilities)[0] == pytest.approx(scaling.slope, abs=1e-9)


def test_platt_undoes_what_weighted_positives_do():
    """Weighting positives by w adds log w to the logits: temperature alone cannot take it back."""
    labels, probabilities = drawn(20_000)
    weighted = Scaling(1, np.log(8)).applied(probabilities)
    scaling = fit_scaling(labels, weighted, "platt")
    assert scaling.intercept == pytest.approx(-np.log(8), abs=0.15)
    before = calibration_metrics(labels, weighted)
    after = calibration_metrics(labels, scaling.applied(weighted))
    cooled = fit_scaling(labels, weighted, "temperature")
    assert cooled.intercept == 0
    assert after["ece"] < 0.01 < before["ece"]
    assert expected_calibration_error(labels, cooled.applied(weighted)) > 0.02
    assert before["brier_skill"] < 0 < after["brier_skill"]
    assert after["mean_predicted"] == pytest.approx(labels.mean(), abs=1e-6)


def test_temperature_of_overconfident_scores():
    labels, probabilities = drawn(20_000)
    sharp = Scaling(2.5, 0).applied(probabilities)
    assert fit_scaling(labels, sharp, "temperature").slope == pytest.approx(0.4, abs=0.02)


def test_ranks_are_kept():
    labels, probabilities = drawn()
    scaled = fit_scaling(labels, probabilities, "platt").applied(probabilities)
    assert np.array_equal(np.argsort(scaled), np.argsort(probabilities))


def test_too_few_positives_are_left_and_said():
    labels = np.zeros(100, np.uint8)
    labels[:9] = 1
    reason = fit_scaling(labels, np.linspace(0.9, 0.1, 100), "platt")
    assert "9 positives and 91 negatives" in reason


@pytest.mark.parametrize(
    ("scores", "reason"),
    [(np.linspace(0.9, 0.1, 100), "separated"), (np.linspace(0.1, 0.9, 100), "")],
)
def test_separated_and_inverted_scores_are_left(scores, reason):
    labels = np.zeros(100, np.uint8)
    labels[:20] = 1
    assert reason in fit_scaling(labels, scores, "platt")


def test_inverted_scores_are_left():
    labels, probabilities = drawn()
    assert "no likelier" in fit_scaling(labels, 1 - probabilities, "platt")


def test_certain_probabilities_stay_finite():
    assert np.isfinite(logit(np.array([0.0, 1.0]), SMALLEST)).all()
    assert np.isfinite(Scaling(2, 1).applied(np.array([0.0, 1.0]))).all()


def test_without_a_positive_slope_and_skill_are_undefined():
    found = calibration_metrics(np.zeros(5, np.uint8), np.full(5, 0.1))
    assert np.isnan([found["slope"], found["intercept"], found["brier_skill"]]).all()
    assert found["ece"] == pytest.approx(0.1)


def test_scores_that_are_all_equal_have_no_slope():
    labels = np.tile([0, 1], 20).astype(np.uint8)
    slope, intercept = slope_and_intercept(labels, np.full(40, 0.3))
    assert np.isnan(slope) and np.isnan(intercept)
    assert fit_scaling(labels, np.full(40, 0.3), "platt") == "all scores are equal on validation"

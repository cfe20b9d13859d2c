import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from deepchest_cli.evaluation.calibration import (
    Scaling,
    calibration_metrics,
    expected_calibration_error,
    fit_scaling,
    reliability,
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


def test_bins_of_equal_mass_are_scikit_learns():
    labels, probabilities = drawn()
    bins = reliability(labels, probabilities)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([b["observed"] for b in bins], observed, rtol=0, atol=1e-12)
    np.testing.assert_allclose([b["predicted"] for b in bins], predicted, rtol=0, atol=1e-12)
    assert [b["images"] for b in bins] == [400] * 10


def test_equal_probabilities_share_a_bin():
    bins = reliability(np.array([0, 1] * 50, np.uint8), np.full(100, 0.3))
    assert bins == [{"predicted": pytest.approx(0.3), "observed": 0.5, "images": 100}]
    assert expected_calibration_error(bins) == pytest.approx(0.2)


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
    assert expected_calibration_error(reliability(labels, cooled.applied(weighted))) > 0.02
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

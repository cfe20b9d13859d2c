import math

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    roc_auc_score,
)

from deepchest_cli.evaluation.metrics import METRICS, macro, per_finding
from deepchest_cli.evaluation.predictions import Predictions


def predictions(labels, probabilities, known=None):
    labels = np.array(labels, np.uint8)
    return Predictions(
        findings=tuple("abcdef"[: labels.shape[1]]),
        probabilities=np.array(probabilities, np.float64),
        labels=labels,
        known=np.ones_like(labels) if known is None else np.array(known, np.uint8),
        patient_id=np.arange(len(labels)),
    )


# four images: worked by hand at the threshold 0.5
LABELS = [[1], [0], [1], [0]]
PROBABILITIES = [[0.9], [0.6], [0.4], [0.1]]
BY_HAND = {
    "auroc": 3 / 4,  # of the four pairs only (0.4, 0.6) is wrong
    "average_precision": 0.5 * 1 + 0.5 * 2 / 3,
    "accuracy": 0.5,
    "accuracy_all_negative": 0.5,
    "balanced_accuracy": 0.5,
    "f1": 0.5,
    "f1_class_mean": 0.5,
    "f1_class_mean_all_negative": 1 / 3,  # 2/3 for absent
    "f1_weighted_all_negative": 1 / 3,
    "prevalence_baseline_loss": math.log(2),
    "f1_micro": 0.5,
    "f1_weighted": 0.5,
    "loss": -(math.log(0.9) + math.log(0.4) + math.log(0.4) + math.log(0.9)) / 4,
    "normalized_cross_entropy": -(math.log(0.9) + math.log(0.4)) / 2 / math.log(2),
    "prevalence": 0.5,
    "ap_over_prevalence": (0.5 * 1 + 0.5 * 2 / 3) / 0.5,
    "brier": (0.01 + 0.36 + 0.36 + 0.01) / 4,
    "brier_skill": 1 - 0.185 / 0.25,
}


@pytest.mark.parametrize("metric", METRICS)
def test_by_hand(metric):
    value = per_finding(metric, predictions(LABELS, PROBABILITIES))
    assert value.tolist() == pytest.approx([BY_HAND[metric]])


def test_balanced_accuracy_and_loss_ratio_see_through_prevalence():
    """Always no, at the prevalence of 1 in 5: accuracy 0.8, but nothing known."""
    table = predictions([[1], [0], [0], [0], [0]], [[0.2]] * 5)
    assert per_finding("accuracy", table)[0] == pytest.approx(0.8)
    assert per_finding("balanced_accuracy", table)[0] == pytest.approx(0.5)
    assert per_finding("normalized_cross_entropy", table)[0] == pytest.approx(1)


def test_f1_of_unequal_classes():
    """Present: precision 1/2, recall 1, F1 2/3; absent: precision 1, recall 3/4, F1 6/7."""
    table = predictions([[1], [0], [0], [0], [0]], [[0.9], [0.8], [0.1], [0.1], [0.1]])
    assert per_finding("f1", table)[0] == pytest.approx(2 / 3)
    assert per_finding("f1_class_mean", table)[0] == pytest.approx((2 / 3 + 6 / 7) / 2)
    assert per_finding("f1_weighted", table)[0] == pytest.approx(2 / 3 / 5 + 6 / 7 * 4 / 5)
    assert per_finding("f1_micro", table)[0] == pytest.approx(4 / 5)


def test_without_positives_ranking_is_undefined_and_never_zero():
    table = predictions([[0], [0]], [[0.9], [0.1]])
    undefined = (
        "auroc", "average_precision", "f1", "f1_class_mean", "balanced_accuracy",
        "normalized_cross_entropy", "ap_over_prevalence", "brier_skill",
    )  # fmt: skip
    for metric in undefined:
        assert np.isnan(per_finding(metric, table)[0])
    assert per_finding("accuracy", table)[0] == 0.5


SECOND_OPINION = {
    "auroc": roc_auc_score,
    "average_precision": average_precision_score,
    "accuracy": lambda labels, p: accuracy_score(labels, p > 0.5),
    "balanced_accuracy": lambda labels, p: balanced_accuracy_score(labels, p > 0.5),
    "f1": lambda labels, p: f1_score(labels, p > 0.5),
    "f1_class_mean": lambda labels, p: f1_score(labels, p > 0.5, average="macro"),
    "f1_micro": lambda labels, p: f1_score(labels, p > 0.5, average="micro"),
    "f1_weighted": lambda labels, p: f1_score(labels, p > 0.5, average="weighted"),
    "loss": log_loss,
    "brier": brier_score_loss,
    "brier_skill": lambda labels, p: 1 - brier_score_loss(labels, p) / np.var(labels),
}


@pytest.mark.parametrize("metric", SECOND_OPINION)
@pytest.mark.parametrize("digits", [2, 17])
def test_scikit_learn_agrees(metric, digits):
    random = np.random.default_rng(3)
    labels = (random.random((500, 1)) < 0.1).astype(np.uint8)
    table = predictions(labels, np.round(random.beta(1, 8, (500, 1)), digits).clip(0.001, 0.999))
    expected = SECOND_OPINION[metric](labels[:, 0], table.probabilities[:, 0])
    assert per_finding(metric, table)[0] == pytest.approx(expected, rel=0, abs=1e-12)


def test_without_negatives_auroc_is_undefined():
    assert np.isnan(per_finding("auroc", predictions([[1], [1]], [[0.9], [0.1]]))[0])


def test_unknown_labels_do_not_count():
    table = predictions(
        [[1, 0], [0, 0], [1, 0], [0, 0], [0, 0]],
        [[0.9, 0.3], [0.6, 0.3], [0.4, 0.3], [0.1, 0.3], [0.99, 0.3]],
        known=[[1, 0]] * 4 + [[0, 0]],
    )
    for metric, value in BY_HAND.items():
        column = per_finding(metric, table)
        assert column[0] == pytest.approx(value)
        assert np.isnan(column[1])


def test_the_loss_of_a_certain_error_is_finite():
    assert np.isfinite(per_finding("loss", predictions([[1]], [[0.0]]))[0])


def test_the_macro_mean_leaves_out_what_is_undefined():
    assert macro(np.array([0.5, np.nan, 0.7])) == pytest.approx(0.6)
    assert np.isnan(macro(np.array([np.nan])))


def test_the_loss_of_certain_scores_is_scikit_learns():
    labels = np.array([[1], [1], [0], [0]], dtype=np.uint8)
    table = predictions(labels, np.array([[1.0], [0.0], [0.0], [1.0]]))
    expected = log_loss(labels[:, 0], table.probabilities[:, 0])
    assert per_finding("loss", table)[0] == pytest.approx(expected, rel=0, abs=1e-12)


def test_no_loss_is_not_less_than_nothing():
    table = Predictions(
        ("a",), np.zeros((3, 1)), *(np.full((3, 1), v, np.uint8) for v in (0, 1)), np.arange(3)
    )
    for metric in ("loss", "prevalence_baseline_loss"):
        assert math.copysign(1, per_finding(metric, table)[0]) == 1

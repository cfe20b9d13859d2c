import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score, roc_curve

from deepchest_cli.evaluation.operating_points import (
    RULES,
    choose_thresholds,
    confusion,
    rate_counts,
    rate_curve,
)


@pytest.fixture(params=[2, 17], ids=["ties", "no ties"])
def sample(request):
    random = np.random.default_rng(5)
    labels = (random.random(400) < 0.2).astype(np.uint8)
    return labels, np.round(random.beta(1 + labels, 4), request.param)


def test_worked_by_hand():
    labels = np.array([0, 0, 1, 0, 1, 1], np.uint8)
    found = choose_thresholds(labels, np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))
    # 0.5: sensitivity 2/3, specificity 1; 0.3: 1 and 2/3; the higher of equals
    assert found["youden"] == 0.5
    assert found["sensitivity_90"] == 0.3
    assert found["specificity_90"] == 0.5
    assert found["best_f1"] == 0.3  # 6/7 against 4/5


def test_scikit_learn_agrees_on_the_curve(sample):
    labels, scores = sample
    curve = rate_curve(labels, scores)
    alarms, hits, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.thresholds, thresholds[:0:-1])
    np.testing.assert_allclose(curve.sensitivity, hits[:0:-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.specificity, 1 - alarms[:0:-1], rtol=0, atol=1e-12)
    f1 = [f1_score(labels, scores >= t) for t in curve.thresholds]
    np.testing.assert_allclose(curve.f1, f1, rtol=0, atol=1e-12)


def test_each_rule_keeps_its_word(sample):
    labels, scores = sample
    found = choose_thresholds(labels, scores)
    curve = rate_curve(labels, scores)
    at = {rule: int(np.flatnonzero(curve.thresholds == t)[0]) for rule, t in found.items()}
    assert curve.sensitivity[at["sensitivity_90"]] >= 0.9
    assert curve.sensitivity[at["sensitivity_90"] + 1] < 0.9
    assert curve.specificity[at["specificity_90"]] >= 0.9
    assert curve.specificity[at["specificity_90"] - 1] < 0.9
    youden = curve.sensitivity + curve.specificity
    assert youden[at["youden"]] == pytest.approx(youden.max(), abs=1e-12)
    assert curve.f1[at["best_f1"]] == curve.f1.max()


def test_no_threshold_without_both_classes():
    found = choose_thresholds(np.zeros(3, np.uint8), np.array([0.1, 0.2, 0.3]))
    assert found.keys() == RULES.keys()
    assert np.isnan(list(found.values())).all()


def test_no_threshold_where_no_specificity_will_do():
    assert np.isnan(
        choose_thresholds(np.array([1, 0], np.uint8), np.full(2, 0.5))["specificity_90"]
    )


def test_rates_are_scikit_learns(sample):
    labels, scores = sample
    positive = scores >= 0.3
    numerators, denominators = rate_counts(labels, positive)
    sensitivity, specificity, ppv, npv = numerators.sum(axis=0) / denominators.sum(axis=0)
    assert sensitivity == pytest.approx(recall_score(labels, positive), abs=1e-12)
    assert specificity == pytest.approx(recall_score(labels, positive, pos_label=0), abs=1e-12)
    assert ppv == pytest.approx(precision_score(labels, positive), abs=1e-12)
    assert npv == pytest.approx(precision_score(labels, positive, pos_label=0), abs=1e-12)
    tn, fp, fn, tp = confusion_matrix(labels, positive).ravel()
    assert confusion(labels, positive) == {"tp": tp, "fp": fp, "fn": fn, "tn": tn}

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score, roc_curve

from deepchest_cli.evaluation.operating_points import (
    RULES,
    choose_thresholds,
    confusion,
    order_statistic,
    rate_counts,
    rate_curve,
)


@pytest.fixture(params=[2, 17], ids=["ties", "no ties"])
def sample(request):
    random = np.random.default_rng(5)
    labels = (random.random(400) < 0.2).astype(np.uint8)
    return labels, np.round(random.beta(1 + labels, 4), request.param)


def chosen(labels, scores, patients=None):
    return choose_thresholds(
        labels, scores, np.arange(len(labels)) if patients is None else patients
    )


def test_worked_by_hand():
    labels = np.repeat(np.array([0, 0, 1, 0, 1, 1], np.uint8), 10)
    scores = np.repeat([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 10)
    found = chosen(labels, scores)
    # 0.5: sensitivity 2/3, specificity 1; 0.3: 1 and 2/3; the higher of equals
    assert found["youden"] == 0.5
    assert found["sensitivity_90"] == 0.3
    assert found["specificity_90"] == 0.5
    assert found["best_f1"] == 0.3  # 6/7 against 4/5


def test_scikit_learn_agrees_on_the_curve(sample):
    labels, scores = sample
    curve = rate_curve(labels, scores, np.arange(len(labels)))
    alarms, hits, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_array_equal(curve.thresholds, thresholds[:0:-1])
    np.testing.assert_allclose(curve.sensitivity, hits[:0:-1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.specificity, 1 - alarms[:0:-1], rtol=0, atol=1e-12)
    f1 = [f1_score(labels, scores >= t) for t in curve.thresholds]
    np.testing.assert_allclose(curve.f1, f1, rtol=0, atol=1e-12)


def test_each_rule_keeps_its_word(sample):
    labels, scores = sample
    found = chosen(labels, scores)
    curve = rate_curve(labels, scores, np.arange(len(labels)))
    at = {rule: int(np.flatnonzero(curve.thresholds == t)[0]) for rule, t in found.items()}
    assert curve.sensitivity[at["sensitivity_90"]] >= 0.9
    assert curve.sensitivity[at["sensitivity_90"] + 1] < 0.9
    assert curve.specificity[at["specificity_90"]] >= 0.9
    assert curve.specificity[at["specificity_90"] - 1] < 0.9
    youden = curve.sensitivity + curve.specificity
    assert youden[at["youden"]] == pytest.approx(youden.max(), abs=1e-12)
    assert curve.f1[at["best_f1"]] == curve.f1.max()


@pytest.mark.parametrize("positives", [0, 1, 9, 191, 199, 200])
def test_no_threshold_of_few_positives_or_negatives(positives):
    labels = (np.arange(200) < positives).astype(np.uint8)
    found = chosen(labels, np.linspace(0.9, 0.1, 200))
    assert found.keys() == RULES.keys()
    assert all(
        "fewer than 10 positives or negatives on validation" in reason for reason in found.values()
    )
    assert f"{200 - positives} negative" in found["youden"]


def test_ten_of_either_are_enough():
    found = chosen((np.arange(20) < 10).astype(np.uint8), np.linspace(0.9, 0.1, 20))
    assert isinstance(found["youden"], float)


def test_no_threshold_where_no_specificity_will_do():
    labels = np.array([1, 0] * 20, np.uint8)
    scores = np.where(np.arange(40) < 3, 0.1, 0.5)
    assert "no threshold has a specificity" in chosen(labels, scores)["specificity_90"]


def test_scores_that_are_all_equal_have_no_threshold():
    found = chosen(np.array([1, 0] * 40, np.uint8), np.full(80, 0.5))
    assert set(found.values()) == {"all scores are equal on validation"}


def test_order_statistics_are_those_of_published_tables():
    """Of tolerance limits for 90 % at a confidence of 95 %: n from which on k may be taken."""
    first = {1: 29, 2: 46, 3: 61, 4: 76, 5: 89, 6: 103}
    for k, patients in first.items():
        assert (order_statistic(patients - 1), order_statistic(patients)) == (k - 1, k)
    assert order_statistic(0) == 0


CONFIDENT = "sensitivity_90_confidence_95"


def test_a_confident_threshold_takes_29_patients():
    labels = (np.arange(100) < 28).astype(np.uint8)
    scores = np.linspace(0.9, 0.1, 100)
    assert "fewer than 29 patients with the finding" in chosen(labels, scores)[CONFIDENT]
    labels[28] = 1
    assert chosen(labels, scores)[CONFIDENT] == scores[28]  # the lowest
    labels[:46] = 1
    assert chosen(labels, scores)[CONFIDENT] == scores[44]  # the second lowest


def test_patients_count_once_for_a_confident_threshold():
    """Twenty more images of one patient with a low score change nothing, and are no patients."""
    labels = (np.arange(100) < 46).astype(np.uint8)
    scores, patients = np.linspace(0.9, 0.1, 100), np.arange(100)
    more = np.append(labels, np.ones(20, np.uint8)), np.append(scores, np.full(20, scores[45]))
    owners = np.append(patients, np.full(20, 45))
    assert chosen(*more, owners)[CONFIDENT] == chosen(labels, scores)[CONFIDENT] == scores[44]
    few = (np.arange(100) < 28).astype(np.uint8)
    few[28:48] = 1
    owners = patients.copy()
    owners[28:48] = 0  # the images of a patient who is counted already
    assert "(28)" in chosen(few, scores, owners)[CONFIDENT]


def test_a_confident_threshold_keeps_its_word():
    """In at most 5 % of validation splits, the sensitivity on all patients is below 0.90."""
    random, below, repetitions = np.random.default_rng(0), 0, 600
    labels = np.repeat(np.array([1, 0], np.uint8), 90)
    patients = np.arange(180) // 2  # 45 patients with two images each, and as many without
    for _ in range(repetitions):
        scores = random.normal(size=90)[patients]  # the worst: both images of a patient are alike
        scores = scores + 1e-9 * random.random(180)
        threshold = chosen(labels, scores, patients)[CONFIDENT]
        below += norm.sf(threshold) < 0.9
    # 0.9 ** 45 = 0.009 with the lowest of 45; the limit leaves room for chance
    assert below / repetitions < 0.03
    ordinary = [
        norm.sf(chosen(labels, random.normal(size=90)[patients], patients)["sensitivity_90"]) < 0.9
        for _ in range(200)
    ]
    assert np.mean(ordinary) > 0.3  # the plain rule misses its target about every other time


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

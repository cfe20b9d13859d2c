import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

from deepchest_cli.evaluation.bootstrap import (
    effective_patients,
    interval,
    patients_with,
    rarer_class_patients,
    resample_patients,
    resampled,
)
from deepchest_cli.evaluation.predictions import Predictions

SECOND_OPINION = {
    "auroc": roc_auc_score,
    "average_precision": average_precision_score,
    "f1": lambda labels, found: f1_score(labels, found > 0.5),
    "brier": brier_score_loss,
    "accuracy": lambda labels, found: np.mean((found > 0.5) == labels),
}


@pytest.mark.parametrize("metric", SECOND_OPINION)
def test_a_weighted_metric_is_that_of_the_table_drawn_again(metric):
    random = np.random.default_rng(0)
    labels = (random.random((200, 3)) < 0.2).astype(np.uint8)
    tied = np.round(random.random((200, 3)), 1)
    table = Predictions(
        ("a", "b", "c"), tied, labels, np.ones_like(labels), random.integers(0, 60, 200)
    )
    draws = resample_patients(table.patient_id, 40, seed=0)
    weights = draws.counts[:, draws.rows]
    found = resampled(metric, table, draws)
    for replicate, counts in enumerate(weights):
        again = np.repeat(np.arange(200), counts)
        expected = [SECOND_OPINION[metric](labels[again, i], tied[again, i]) for i in range(3)]
        np.testing.assert_allclose(found[replicate], expected, rtol=0, atol=1e-12)


def test_replicates_without_a_positive_are_left_out_and_counted():
    labels = np.array([[1], [0], [0], [0]], np.uint8)
    scores = np.array([[0.9], [0.8], [0.1], [0.95]])
    table = Predictions(("a",), scores, labels, np.ones_like(labels), np.arange(4))
    draws = resample_patients(table.patient_id, 200, seed=0)
    found = resampled("auroc", table, draws)[:, 0]
    without = (draws.counts[:, 0] == 0) | (draws.counts[:, 1:].sum(axis=1) == 0)
    assert np.array_equal(np.isnan(found), without)
    held = interval(found, patients=20)
    assert held.undefined == without.sum() > 0
    assert 0 <= held.low <= held.high <= 1


def test_many_patients_have_plain_percentiles_and_few_have_wider_ones():
    values = np.random.default_rng(0).normal(size=10_000)
    many, few = interval(values, 10**6), interval(values, 5)
    assert (many.low, many.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), 1e-3)
    reach = np.sqrt(5 / 4) * t.ppf(0.975, 4)
    expected = np.quantile(values, norm.cdf([-reach, reach]))
    assert (few.low, few.high) == pytest.approx(tuple(expected))


def test_unknown_labels_have_no_weight():
    random = np.random.default_rng(1)
    labels = (random.random((100, 1)) < 0.4).astype(np.uint8)
    known = (random.random((100, 1)) < 0.7).astype(np.uint8)
    scores, patients = random.random((100, 1)), random.integers(0, 30, 100)
    draws = resample_patients(patients, 20, seed=0)
    found = resampled("auroc", Predictions(("a",), scores, labels, known, patients), draws)
    for replicate, counts in enumerate(draws.counts[:, draws.rows]):
        again = np.repeat(np.arange(100), counts * known[:, 0])
        expected = roc_auc_score(labels[again, 0], scores[again, 0])
        assert found[replicate, 0] == pytest.approx(expected, rel=0, abs=1e-12)


def test_patients_with_most_of_the_images_count_for_what_they_vary():
    owners = np.array([0, 0, 1, 1, 2, 2])
    everything, some = np.ones(6), np.array([1, 1, 1, 0, 0, 0])
    assert effective_patients(everything, owners) == patients_with(everything, owners) == 3
    assert effective_patients(some, owners) == pytest.approx(9 / 5)
    assert patients_with(some, owners) == 2
    assert effective_patients(np.zeros(6), owners) == 0


def test_no_interval_without_two_replicates_and_two_patients():
    assert np.isnan(interval(np.array([0.5, np.nan]), 9).low)
    assert np.isnan(interval(np.array([0.5, 0.6]), 1).low)


def coverage(patients_of, repetitions=300, patients=120):
    """Return how often the interval holds the true AUROC: patients with few or many images."""
    chance, held = np.random.default_rng(7), 0
    for repetition in range(repetitions):
        sizes = chance.geometric(0.2, patients)
        owner = np.repeat(np.arange(patients), sizes)
        # a patient is ill or not, and easy or hard to read, on all images
        labels = (chance.random(patients) < 0.4)[owner].astype(np.uint8)[:, None]
        effect = chance.normal(0, 1, patients)[owner]
        shift = 0.8 * labels[:, 0] + effect + chance.normal(0, 0.3, len(owner))
        scores = 1 / (1 + np.exp(-shift))[:, None]
        table = Predictions(("a",), scores, labels, np.ones_like(labels), patients_of(owner))
        draws = resample_patients(table.patient_id, 200, seed=repetition)
        found = interval(resampled("auroc", table, draws)[:, 0], rarer_class_patients(table, 0))
        held += found.low <= TRUE <= found.high
    return held / repetitions


# of two normal variables 0.8 apart, each with variance 1 + 0.3 ** 2
TRUE = norm.cdf(0.8 / np.sqrt(2 * 1.09))


def test_intervals_by_patients_cover_and_intervals_by_images_do_not():
    assert 0.92 <= coverage(lambda owner: owner) <= 0.98
    assert coverage(lambda owner: np.arange(len(owner))) < 0.6

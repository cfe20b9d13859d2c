"""Metrics of rank under cross-validation: images are compared within a fold only."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from deepchest_cli.evaluation.bootstrap import resample_patients, resampled
from deepchest_cli.evaluation.intervals import auroc_interval
from deepchest_cli.evaluation.metrics import METRICS, per_finding
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.report import build_report
from deepchest_cli.evaluation.weighted import WEIGHTED


def predictions(scores, labels, fold, patients=None):
    """Return predictions (n,) of one finding."""
    owners = np.arange(len(labels)) if patients is None else patients
    table, marks = np.asarray(scores)[:, None], np.asarray(labels, np.uint8)[:, None]
    return Predictions(("a",), table, marks, np.ones_like(marks), owners, fold)


def value(metric, table):
    once = resample_patients(table.patient_id, 1, 0).sample
    return resampled(metric, table, once)[0, 0]


def by_hand(metric, scores, labels, fold):
    """Return a metric of rank by scikit-learn, fold by fold, weighted by pairs or by positives."""
    total, weight = 0.0, 0
    for one in np.unique(fold):
        marks, found = labels[fold == one], scores[fold == one]
        positives, negatives = int(marks.sum()), int((1 - marks).sum())
        if metric == "auroc" and positives and negatives:
            total += positives * negatives * roc_auc_score(marks, found)
            weight += positives * negatives
        elif metric == "average_precision" and positives:
            total += positives * average_precision_score(marks, found)
            weight += positives
    return total / weight if weight else np.nan


def test_offsets_between_folds_lower_the_pooled_auroc_and_not_that_within_folds():
    chance, images, folds, separation = np.random.default_rng(0), 300_000, 5, 1.0
    labels = (chance.random(images) < 0.2).astype(np.uint8)
    fold = chance.integers(0, folds, images)
    offsets = 0.3 * np.array([-1.5, -0.5, 0.0, 0.5, 1.5]) / np.std([-1.5, -0.5, 0.0, 0.5, 1.5])
    scores = norm.cdf(chance.normal(size=images) + separation * labels + offsets[fold])
    truth = norm.cdf(separation / np.sqrt(2))
    pooled = value("auroc", predictions(scores, labels, None))
    within = value("auroc", predictions(scores, labels, fold))
    # a pooled difference has the variance of two offsets more
    biased = norm.cdf(separation / np.sqrt(2 + 2 * 0.3**2))
    assert truth - biased > 0.009
    assert pooled == pytest.approx(biased, abs=0.004)
    assert within == pytest.approx(truth, abs=0.004)


@pytest.mark.parametrize("metric", ["auroc", "average_precision"])
def test_values_and_replicates_are_those_of_the_folds_by_themselves(metric):
    chance = np.random.default_rng(1)
    labels = (chance.random(120) < 0.25).astype(np.uint8)
    tied, fold = np.round(chance.random(120), 1), chance.integers(1, 4, 120)
    table = predictions(tied, labels, fold, chance.integers(0, 50, 120))
    assert value(metric, table) == pytest.approx(by_hand(metric, tied, labels, fold), abs=1e-12)
    draws = resample_patients(table.patient_id, 30, seed=0)
    found = resampled(metric, table, draws)[:, 0]
    for replicate, counts in zip(found, draws.counts[:, draws.rows], strict=True):
        again = np.repeat(np.arange(120), counts)
        expected = by_hand(metric, tied[again], labels[again], fold[again])
        assert replicate == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", WEIGHTED)
def test_the_sample_itself_is_the_replicate_of_every_patient_once(metric):
    chance = np.random.default_rng(2)
    labels, scores = (chance.random(90) < 0.3).astype(np.uint8), np.round(chance.random(90), 1)
    single = predictions(scores, labels, None, chance.integers(0, 40, 90))
    assert value(metric, single) == pytest.approx(METRICS[metric](labels, scores), abs=1e-12)
    if metric not in ("auroc", "average_precision"):  # sums over images, whatever the fold
        folded = predictions(scores, labels, chance.integers(1, 4, 90), single.patient_id)
        assert value(metric, folded) == value(metric, single)


def test_a_fold_without_positives_has_no_pairs():
    fold = np.array([1, 1, 1, 1, 2, 2])
    labels = np.array([1, 0, 1, 0, 0, 0], np.uint8)
    scores = np.array([0.9, 0.2, 0.3, 0.4, 0.95, 0.99])  # the second fold's would be above all
    table = predictions(scores, labels, fold)
    assert value("auroc", table) == 0.75
    assert value("average_precision", table) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_without_a_pair_in_any_fold_the_auroc_is_undefined(labels):
    table = predictions([0.1, 0.2, 0.8, 0.9], labels, np.array([1, 1, 2, 2]))
    assert np.isnan(value("auroc", table))
    draws = resample_patients(table.patient_id, 20, 0)
    assert np.isnan(resampled("auroc", table, draws)).all()
    # the precision of a fold that is all positive is 1
    assert value("average_precision", table) == 1 or not any(labels)


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "ap_over_prevalence"])
def test_a_table_of_metrics_ranks_images_within_their_fold(metric):
    chance = np.random.default_rng(4)
    labels, fold = (chance.random(90) < 0.2).astype(np.uint8), chance.integers(0, 3, 90)
    scores = chance.normal(size=90) + fold
    labels[fold == 2] = 0  # a fold without a positive counts for nothing
    (found,) = per_finding(metric, predictions(scores, labels, fold))
    expected = by_hand(
        metric.replace("ap_over_prevalence", "average_precision"), scores, labels, fold
    )
    expected = expected / labels.mean() if metric == "ap_over_prevalence" else expected
    assert found == pytest.approx(expected, abs=1e-12)
    assert np.isnan(per_finding(metric, predictions(scores, 0 * labels, fold))).all()


def test_the_interval_of_one_fold_is_that_without_folds():
    chance = np.random.default_rng(5)
    labels, owners = (chance.random(200) < 0.3).astype(np.uint8), np.arange(200) // 2
    scores = chance.normal(size=200) + labels
    alone = auroc_interval(labels, scores, owners)
    assert auroc_interval(labels, scores, owners, np.zeros(200, np.int64)) == alone
    # a fold of one class has no pairs
    more = np.concatenate([labels, np.zeros(50, np.uint8)]), np.append(scores, np.full(50, 9.0))
    folds = np.repeat([0, 1], [200, 50])
    others = np.append(owners, 1000 + np.arange(50))
    assert auroc_interval(*more, others, folds) == pytest.approx(alone, abs=1e-12)
    assert np.isnan(auroc_interval(labels, scores, owners, np.arange(200))).all()


def test_intervals_within_folds_cover_though_folds_have_offsets():
    chance, separation, covered, draws = np.random.default_rng(6), 1.0, 0, 300
    truth = norm.cdf(separation / np.sqrt(2))
    for _ in range(draws):
        owners, fold = np.arange(240) // 2, np.arange(240) // 2 % 4
        labels = np.repeat(chance.random(120) < 0.25, 2).astype(np.uint8)
        noise = np.repeat(chance.normal(size=120), 2) * 0.6 + chance.normal(size=240) * 0.8
        scores = noise + separation * labels + np.array([0, 3, -3, 6])[fold]
        low, high = auroc_interval(labels, scores, owners, fold)
        covered += low <= truth <= high
    assert 0.92 <= covered / draws <= 0.985


def test_replicates_keep_how_many_patients_each_fold_has():
    fold = np.array([0, 0, 0, 0, 1, 1])
    found = resample_patients(np.array([1, 1, 2, 3, 4, 5]), 50, 0, fold=fold)
    assert (found.counts[:, :3].sum(axis=1) == 3).all()
    assert (found.counts[:, 3:].sum(axis=1) == 2).all()
    np.testing.assert_array_equal(found.patient_index(np.array([3, 4])).fold, [0, 1])


def test_the_interval_of_the_average_precision_holds_it():
    chance = np.random.default_rng(7)
    fold, labels = np.arange(300) % 5, (chance.random((300, 6)) < 0.05).astype(np.uint8)
    scores = 1 / (1 + np.exp(-chance.normal(size=(300, 6)) - labels))
    table = Predictions(tuple("abcdef"), scores, labels, 0 * labels + 1, np.arange(300), fold)
    found = build_report(table, resample_patients(table.patient_id, 200, 0, fold=fold))
    for entry in [found["macro"], *found["findings"].values()]:
        ends = entry["intervals"]["average_precision"]
        assert ends["low"] < entry["average_precision"] < ends["high"]

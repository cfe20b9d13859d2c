"""Metrics, tests and resampling where images are of two data sets."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepchest_cli.comparison.analysis.metrics import (
    MACRO_AUROC,
    data_set_differences,
    differences,
    finding_differences,
    summary_metrics,
)
from deepchest_cli.comparison.analysis.scores import score
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import Carriers, combined_groups, holm

FINDINGS = ("both", "first", "second")
LABELED = np.array([[1, 1, 0], [1, 0, 1]], dtype=np.uint8)  # by data set
MEMBER = np.repeat([0, 1], [300, 100])
PATIENTS = np.repeat(np.arange(200), 2)
PREVALENCE = np.array([0.2, 0.6])  # of the two data sets
MARGIN = 0.005
METRICS = summary_metrics(np.array([2]))


def table(seed, signal=(1.0, 1.0), offset=0.0):
    """Return predictions with some signal in each data set, those of the second moved."""
    labels = (np.random.default_rng(0).random((400, 3)) < PREVALENCE[MEMBER, None]).astype(np.uint8)
    noise = np.random.default_rng([1, seed]).normal(size=labels.shape)
    logits = noise + np.array(signal)[MEMBER, None] * labels + offset * MEMBER[:, None]
    known = LABELED[MEMBER]
    return Predictions(FINDINGS, 1 / (1 + np.exp(-logits)), labels * known, known, PATIENTS)


def scores(first_seed=0, **how):
    draws = resample_patients(PATIENTS, 200, 0, MEMBER)
    return score([table(first_seed + seed, **how) for seed in range(3)], draws, MEMBER)


def auroc_of(one, column, rows):
    return roc_auc_score(one.labels[rows, column], one.probabilities[rows, column])


def test_the_macro_auroc_is_the_mean_over_the_data_sets_of_each_ones_own():
    one, found = table(0), scores()
    own = [
        np.mean([auroc_of(one, column, number == MEMBER) for column in columns])
        for number, columns in enumerate([(0, 1), (0, 2)])
    ]
    assert MACRO_AUROC.of(found)[0][0] == pytest.approx(np.mean(own), abs=1e-12)
    for number, mean in enumerate(own):
        assert MACRO_AUROC.of(found.of_each[number])[0][0] == pytest.approx(mean, abs=1e-12)
        assert np.isnan(found.of_each[number].values["auroc"][:, 2 - number]).all()


def test_replicates_too_are_means_over_the_data_sets():
    found = scores()
    each = np.stack([MACRO_AUROC.of(one)[1] for one in found.of_each])
    assert MACRO_AUROC.of(found)[1] == pytest.approx(each.mean(axis=0), abs=1e-12)


def test_to_tell_the_data_sets_apart_is_worth_nothing():
    blind = {"signal": (0.0, 0.0), "offset": 8.0}
    one, found = table(0, **blind), scores(**blind)
    assert auroc_of(one, 0, slice(None)) > 0.6  # the second data set has it three times as often
    assert found.values["auroc"][:, 0].mean() < 0.55
    moved, unmoved = scores(offset=8.0), scores()
    for metric in ("auroc", "average_precision"):
        assert moved.values[metric] == pytest.approx(unmoved.values[metric], abs=1e-9)


def test_a_metric_that_a_data_set_lacks_is_that_of_the_others():
    rarest = METRICS[-1]
    assert rarest.of(scores())[0] == pytest.approx(scores().of_each[1].values["auroc"][:, 2])
    assert rarest.carriers(scores()) == rarest.carriers(scores().of_each[1])


def test_one_data_set_has_the_scores_that_it_would_have_without_members():
    draws = resample_patients(PATIENTS, 50, 0)
    plain = score([table(0)], draws)
    member = score([table(0)], draws, np.zeros_like(MEMBER))
    assert member.of_each == plain.of_each == ()
    assert np.array_equal(member.replicates["auroc"], plain.replicates["auroc"], equal_nan=True)
    assert data_set_differences({"x": plain}, plain, METRICS, MARGIN, {}) == {}


def test_verdicts_on_data_sets_are_corrected_over_all_weighters_in_all_of_them():
    arms = {"good": scores(10, signal=(1.0, 3.0)), "alike": scores(20)}
    rows = data_set_differences(arms, scores(), METRICS, MARGIN, {"good": [0]})
    assert list(rows) == [("good", 0), ("good", 1), ("alike", 0), ("alike", 1)]
    found = [row["macro_auroc"] for row in rows.values()]
    assert [row["p_holm"] for row in found] == holm([row["p"] for row in found])
    assert [row["verdict"] for row in found] == [
        "inconclusive", "better", "inconclusive", "inconclusive"
    ]  # fmt: skip
    assert [row["without_outlying_seeds"] is None for row in found] == [False, False, True, True]
    assert found[1]["low"] < found[1]["single_low"]
    mean = differences(arms, scores(), METRICS, MARGIN, {})["good"]["macro_auroc"]
    assert mean["estimate"] == pytest.approx((found[0]["estimate"] + found[1]["estimate"]) / 2)


def test_a_finding_has_the_patients_of_the_data_sets_with_a_pair_of_images():
    one = table(0)
    never = MEMBER[:, None] == 1  # the second data set has no positive
    first = [replace(one, labels=np.where(never, 0, one.labels).astype(np.uint8))] * 3
    found = score(first, resample_patients(PATIENTS, 50, 0, MEMBER), MEMBER)
    assert found.patients[:, 0].tolist() == found.of_each[0].patients[:, 0].tolist()
    assert found.effective["auroc"][0] == found.of_each[0].effective["auroc"][0]
    assert found.effective["loss"][0] == 200  # all patients have two images
    row = finding_differences(found, found, FINDINGS, MARGIN)["second"]["auroc"]
    assert row["verdict"] == "not measured"


def test_folds_are_ranked_within_their_data_set():
    one = replace(table(0), fold=np.arange(400) // 2 % 2)
    found = score([one] * 3, resample_patients(PATIENTS, 50, 0, MEMBER), MEMBER)
    pairs, right = 0, 0.0
    for rows in (np.flatnonzero((m == MEMBER) & (one.fold == f)) for m in (0, 1) for f in (0, 1)):
        labels = one.labels[rows, 0]
        number = labels.sum() * (1 - labels).sum()
        pairs, right = pairs + number, right + number * auroc_of(one, 0, rows)
    assert found.values["auroc"][0, 0] == pytest.approx(right / pairs, abs=1e-12)


def test_as_many_patients_are_drawn_as_each_data_set_has():
    patients = np.array([1, 1, 2, 3, 3, 4, 5, 6])
    member = np.array([0, 0, 0, 0, 1, 1, 1, 1])  # patient 3 has images in both
    counts = resample_patients(patients, 200, 0, member).counts
    assert (counts[:, :2].sum(axis=1) == 2).all()
    assert (counts[:, 2] == 1).all()
    assert (counts[:, 3:].sum(axis=1) == 3).all()
    assert len(np.unique(counts, axis=0)) > 20


def test_patients_of_one_data_set_are_drawn_as_without_members():
    with_member = resample_patients(PATIENTS, 30, 5, np.zeros_like(MEMBER))
    assert np.array_equal(with_member.counts, resample_patients(PATIENTS, 30, 5).counts)


def test_the_patients_of_a_mean_over_groups():
    assert combined_groups([Carriers.of(7)]) == Carriers.of(7)
    alike = combined_groups([Carriers.of(21), Carriers.of(21)])
    assert alike.number == pytest.approx(41)  # degrees of freedom add up
    assert alike.inflation == pytest.approx(21 / 20)
    small = combined_groups([Carriers.of(1000), Carriers.of(11)])
    assert 11 < small.number < 12  # nearly all of the variance is that of the small group
    few = Carriers(5, 5 / 4, "too few")
    assert combined_groups([Carriers.of(1000), few]).too_few == "too few"
    assert combined_groups([Carriers.of(4), few]).too_few == ""

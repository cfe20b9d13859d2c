import math
from dataclasses import replace

import numpy as np
import pytest

from deepchest_cli.comparison.analysis.metrics import (
    delta_m,
    differences,
    finding_differences,
    mean_ranks,
    outlying_runs,
    rarest_tertile,
    summary_metrics,
)
from deepchest_cli.comparison.analysis.scores import METRICS as EACH
from deepchest_cli.comparison.analysis.scores import Scores, score
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.predictions import Predictions

FINDINGS = ("a", "b", "c", "d", "e", "f")
IGNORED = (1, 4)
IMAGES = 600
MARGIN = 0.005
METRICS = summary_metrics(np.array([0]))


def table(labels, patients, seed, ignored=()):
    """Return predictions that know something of every finding but the ignored ones."""
    chance = np.random.default_rng([1, seed])
    logits = 1.5 * labels + chance.normal(size=labels.shape)
    for column in ignored:
        logits[:, column] = chance.normal(size=len(labels))
    return Predictions(FINDINGS, 1 / (1 + np.exp(-logits)), labels, np.ones_like(labels), patients)


@pytest.fixture(scope="module")
def arms():
    chance = np.random.default_rng(0)
    labels = (chance.random((IMAGES, len(FINDINGS))) < 0.25).astype(np.uint8)
    patients = chance.integers(0, 200, IMAGES)
    draws = resample_patients(patients, 200, 0)
    # one pair of alikes in twenty is told apart by chance; this is not one of them
    chosen = {"equal": (0, ()), "ignoring": (10, IGNORED), "alike": (30, ())}
    return {
        label: score([table(labels, patients, first + s, ignored) for s in range(4)], draws)
        for label, (first, ignored) in chosen.items()
    }


def test_a_weighter_that_ignores_findings_is_found_out_for_those(arms):
    equal, ignoring = arms["equal"], arms["ignoring"]
    rows = finding_differences(ignoring, equal, FINDINGS, MARGIN)
    worse = [name for name in FINDINGS if rows[name]["auroc"]["verdict"] == "worse"]
    assert worse == [FINDINGS[column] for column in IGNORED]
    others = {label: arms[label] for label in ("ignoring", "alike")}
    whole = differences(others, equal, METRICS, MARGIN, {})
    assert whole["ignoring"]["macro_auroc"]["verdict"] == "worse"
    assert whole["ignoring"]["macro_loss"]["verdict"] == "worse"
    assert whole["alike"]["macro_auroc"]["verdict"] == "inconclusive"


def test_a_weighter_is_no_different_from_itself(arms):
    whole = differences({"same": arms["equal"]}, arms["equal"], METRICS, MARGIN, {})
    row = whole["same"]["macro_auroc"]
    assert (row["estimate"], row["p"], row["low"], row["seeds_needed"]) == (0.0, None, None, None)
    assert row["untested"] == "the difference is the same in every seed and for every patient"


def test_intervals_are_simultaneous_over_the_weighters(arms):
    others = {label: arms[label] for label in ("ignoring", "alike")}
    both = differences(others, arms["equal"], METRICS, MARGIN, {})["alike"]["macro_auroc"]
    alone = {"alike": arms["alike"]}
    one = differences(alone, arms["equal"], METRICS, MARGIN, {})["alike"]["macro_auroc"]
    assert both["low"] < both["single_low"] == one["single_low"] == one["low"]
    assert both["high"] > both["single_high"] == one["high"]


def test_the_margin_decides_on_equivalence_and_seeds_by_the_auroc_alone(arms):
    alike = {"alike": arms["alike"]}
    row = differences(alike, arms["equal"], METRICS, 0.5, {})["alike"]
    assert row["macro_auroc"]["verdict"] == row["worst_auroc"]["verdict"] == "equivalent"
    assert row["macro_auroc"]["p_equivalence_holm"] < 0.05
    assert row["macro_auroc"]["seeds_needed"] == 3
    assert row["macro_loss"]["verdict"] == "inconclusive"
    assert row["macro_loss"]["p_equivalence_holm"] is None
    none = differences(alike, arms["equal"], METRICS, 0.0, {})["alike"]["macro_auroc"]
    assert (none["verdict"], none["seeds_needed"]) == ("inconclusive", None)


def test_a_collapsed_run_is_named_and_the_verdict_without_it_stands_beside(arms):
    draws = 4
    steady, collapsed = (
        Scores(
            {metric: np.array(seeds)[:, None] for metric in EACH},
            {metric: np.tile(np.array(seeds)[:, None, None], (1, draws, 1)) for metric in EACH},
            np.full((2, 1), 99),
            {metric: np.array([99.0]) for metric in EACH},
        )
        for seeds in ([0.700, 0.701, 0.702, 0.703], [0.800, 0.802, 0.804, 0.500])
    )
    runs = {"equal": steady, "x": collapsed}
    assert outlying_runs(runs, MARGIN) == {"x": [3]}
    assert outlying_runs({"equal": steady}, MARGIN) == {}
    row = differences({"x": collapsed}, steady, METRICS, MARGIN, {"x": [3]})["x"]["macro_auroc"]
    assert (row["verdict"], row["seeds"]) == ("inconclusive", 4)
    without = row["without_outlying_seeds"]
    assert (without["verdict"], without["seeds"]) == ("better", 3)


def test_effective_patients_are_those_of_the_rarer_class_and_of_the_rarest_findings(arms):
    carried = arms["equal"].effective
    assert (carried["auroc"] < carried["loss"]).all()
    by_name = {metric.name: metric.carriers(arms["equal"]).number for metric in METRICS}
    assert by_name["worst_auroc"] == carried["auroc"].min()
    assert by_name["rarest_tertile_auroc"] == pytest.approx(carried["auroc"][0])
    assert by_name["worst_auroc"] < by_name["macro_auroc"] <= carried["loss"].max()


def test_a_finding_of_a_few_patients_is_not_tested_by_itself(arms):
    few = {
        name: replace(scores, patients=np.where(np.arange(6) == 1, 9, scores.patients))
        for name, scores in arms.items()
    }
    rows = finding_differences(few["ignoring"], few["equal"], FINDINGS, MARGIN)
    row = rows["b"]["auroc"]
    assert (row["p"], row["low"], row["verdict"]) == (None, None, "inconclusive")
    assert row["estimate"] < -0.1
    assert row["seeds_needed"] is None  # more seeds are no more patients
    assert row["untested"] == "fewer than 10 patients have the finding, or have it not"
    assert rows["b"]["loss"]["untested"] == row["untested"]  # which positives carry as well
    assert rows["e"]["loss"]["verdict"] == "worse"
    assert rows["e"]["auroc"]["verdict"] == "worse"


def test_patients_are_counted_with_and_without_a_finding():
    labels = np.array([[1], [1], [0], [0], [1]], dtype=np.uint8)
    patients = np.array([1, 1, 1, 2, 3])
    one = Predictions(
        ("a",), np.full((5, 1), 0.5), labels, np.array([[1], [1], [1], [1], [0]]), patients
    )
    found = score([one], resample_patients(patients, 100, 0)).patients
    assert found.tolist() == [[1], [2]]


def test_the_rarest_tertile_has_the_findings_with_the_fewest_positives():
    assert sorted(rarest_tertile(np.array([9, 1, 5, 2, 7, 3]))) == [1, 3]
    assert list(rarest_tertile(np.array([4, 3]))) == [1]


def of_aurocs(*seeds):
    return Scores({"auroc": np.array(seeds)}, {}, np.full((2, len(seeds[0])), 99), {})


def test_delta_m_as_worked_by_hand():
    # means 0.7 and 0.9 against 0.8 and 0.6: -12.5 % and +50 %; of the skill -1/3 and +3
    found = delta_m(of_aurocs([0.6, 0.8], [0.8, 1.0]), of_aurocs([0.8, 0.6]), ("a", "b"))
    assert found["mean"] == pytest.approx(18.75)
    assert found["median"] == pytest.approx(18.75)
    assert found["worst_finding"] == {"finding": "a", "percent": pytest.approx(-12.5)}
    assert found["chance_corrected"] == pytest.approx(100 * (-1 / 3 + 3) / 2)


def test_delta_m_leaves_out_a_finding_whose_single_task_model_has_an_auroc_of_0():
    found = delta_m(of_aurocs([0.0, 0.9]), of_aurocs([0.0, 0.6]), ("a", "b"))
    assert found["mean"] == pytest.approx(50)
    assert math.isnan(found["findings"]["a"])


def test_mean_ranks_share_ties_and_leave_undefined_findings_out():
    found = mean_ranks(
        {"x": of_aurocs([0.9, 0.5, np.nan]), "y": of_aurocs([0.8, 0.5, 0.9])},
    )
    assert found == {"x": pytest.approx(1.25), "y": pytest.approx(1.75)}


def folds_of(seed, fold):
    """Return predictions of two findings, the second one only ever positive in the first fold."""
    chance = np.random.default_rng(seed)
    labels = np.zeros((len(fold), 2), np.uint8)
    labels[:, 0] = np.arange(len(fold)) % 2
    labels[:, 1] = fold == 1
    scores = chance.random(labels.shape)
    return Predictions(("a", "b"), scores, labels, np.ones_like(labels), np.arange(len(fold)), fold)


def test_a_finding_without_a_pair_in_any_fold_is_not_measured_and_the_others_are():
    fold = np.repeat([1, 2], 30)
    draws = resample_patients(np.arange(60), 100, 0)
    equal, other = (score([folds_of(first + s, fold) for s in range(3)], draws) for first in (0, 5))
    row = finding_differences(other, equal, ("a", "b"), MARGIN)
    assert (row["b"]["auroc"]["p"], row["b"]["auroc"]["verdict"]) == (None, "not measured")
    assert row["a"]["auroc"]["p"] is not None
    whole = differences({"other": other}, equal, METRICS, MARGIN, {})["other"]
    assert whole["macro_auroc"]["estimate"] == pytest.approx(row["a"]["auroc"]["estimate"])

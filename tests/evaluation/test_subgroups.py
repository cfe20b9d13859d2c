from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.choices import choose
from deepchest_cli.evaluation.subgroups import calls, groups_of, subgroups


def table_of(cases, choices=None, replicates=20):
    draws = resample_patients(cases.predictions.patient_id, replicates, seed=0)
    found = subgroups(cases, draws, choices)
    return {(g["attribute"], g["group"]): g for g in found["groups"]}


def test_groups_are_attributes_and_their_crossings(make_cases):
    cases = make_cases()
    groups = list(groups_of(cases))
    kinds = {group.attribute for group in groups}
    assert kinds == {"sex", "age", "view", "sex and age", "sex and view", "age and view"}
    for kind in kinds:  # each image is in one group of each kind
        rows = np.concatenate([group.rows for group in groups if group.attribute == kind])
        assert sorted(rows) == list(range(len(cases)))


def test_bands_of_age_begin_where_they_say(make_cases):
    ages = np.array([0, 19.9, 20, 39, 40, 59, 60, 79, 80, np.nan])
    cases = make_cases(10, age=ages)
    bands = {g.name: ages[g.rows].tolist() for g in groups_of(cases) if g.attribute == "age"}
    assert bands == {
        "0–19": [0, 19.9], "20–39": [20, 39], "40–59": [40, 59], "60–79": [60, 79], "80+": [80],
    }  # fmt: skip


def test_figures_are_those_of_the_images_alone(make_cases):
    cases = make_cases()
    choices = choose(make_cases(seed=1).predictions, "platt", "x")
    table, called = cases.predictions, calls(cases.predictions, choices).positive
    women = np.flatnonzero(cases.sex == "F")
    group = table_of(cases, choices)["sex", "F"]
    assert (group["images"], group["patients"]) == (200, 100)
    aurocs = []
    for column, finding in enumerate(table.findings):
        labels, scores = table.labels[women, column], table.probabilities[women, column]
        entry = group["findings"][finding]
        aurocs.append(roc_auc_score(labels, scores))
        assert entry["auroc"]["value"] == pytest.approx(aurocs[-1], abs=1e-12)
        missed = ~called[women, column][labels == 1]
        assert entry["fnr"]["value"] == pytest.approx(missed.mean(), abs=1e-12)
        alarms = called[women, column][labels == 0]
        assert entry["fpr"]["value"] == pytest.approx(alarms.mean(), abs=1e-12)
        assert entry["auroc"]["low"] <= entry["auroc"]["value"] <= entry["auroc"]["high"]
    assert group["macro_auroc"]["value"] == pytest.approx(np.mean(aurocs))
    ill = table.labels[women].any(axis=1)
    free = ~called[women].any(axis=1)
    assert group["underdiagnosis"]["value"] == pytest.approx(free[ill].mean(), abs=1e-12)


def test_small_groups_are_suppressed(make_cases):
    sex = np.array(["F"] * 18 + ["M"] * 382)
    groups = table_of(make_cases(sex=sex), choose(make_cases(seed=1).predictions, "platt", "x"))
    few = groups["sex", "F"]
    assert (few["patients"], few["suppressed"], few["findings"]) == (9, True, {})
    assert np.isnan(few["macro_auroc"]["value"])
    assert not groups["sex", "M"]["suppressed"]


def test_a_finding_that_few_of_a_group_have_is_suppressed(make_cases):
    cases = make_cases()
    women = cases.sex == "F"
    cases.predictions.labels[women, 1] = 0
    cases.predictions.labels[np.flatnonzero(women)[:18:2], 1] = 1  # nine patients
    group = table_of(cases, choose(make_cases(seed=1).predictions, "platt", "x"))["sex", "F"]
    assert np.isnan(group["findings"]["Edema"]["auroc"]["value"])
    assert np.isnan(group["findings"]["Edema"]["fnr"]["value"])
    assert np.isfinite(group["findings"]["Edema"]["fpr"]["value"])
    assert group["findings"]["Edema"]["positives"] == 9
    assert group["scored_findings"] == 1


def test_without_thresholds_there_are_no_rates(make_cases):
    group = table_of(make_cases())["sex", "F"]
    assert np.isfinite(group["macro_auroc"]["value"])
    assert np.isnan(group["underdiagnosis"]["value"])
    assert np.isnan(group["findings"]["Mass"]["fnr"]["value"])


def test_a_finding_without_a_threshold_has_no_rates_and_is_no_underdiagnosis(make_cases):
    cases = make_cases()
    choices = choose(cases.predictions, "platt", "x")
    finding = cases.predictions.findings[0]
    without = replace(choices, thresholds={**choices.thresholds, finding: {"youden": np.nan}})
    group = table_of(cases, without)["sex", "F"]
    assert np.isnan(group["findings"][finding]["fnr"]["value"])
    assert np.isnan(group["findings"][finding]["fpr"]["value"])
    women, table = np.flatnonzero(cases.sex == "F"), cases.predictions
    called = calls(table, choices).positive[women][:, 1:]
    ill = (table.labels * table.known)[women][:, 1:].any(axis=1)
    missed = ill & ~called.any(axis=1)
    assert group["underdiagnosis"]["value"] == pytest.approx(missed.sum() / ill.sum(), abs=1e-12)

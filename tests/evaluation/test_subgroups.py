from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.subgroups import decisions, subgroups, subgroups_of
from deepchest_cli.evaluation.validation_fit import fit_on_validation


def table_of(scored, fit=None, replicates=20):
    draws = resample_patients(scored.predictions.patient_id, replicates, seed=0)
    found = subgroups(scored, draws, fit)
    return {(g["attribute"], g["group"]): g for g in found["groups"]}


def test_groups_are_attributes_and_their_crossings(make_scored_images):
    scored = make_scored_images()
    groups = list(subgroups_of(scored))
    kinds = {group.attribute for group in groups}
    assert kinds == {"sex", "age", "view", "sex and age", "sex and view", "age and view"}
    for kind in kinds:  # each image is in one group of each kind
        rows = np.concatenate([group.rows for group in groups if group.attribute == kind])
        assert sorted(rows) == list(range(len(scored)))


def test_bands_of_age_begin_where_they_say(make_scored_images):
    ages = np.array([0, 19.9, 20, 39, 40, 59, 60, 79, 80, np.nan])
    scored = make_scored_images(10, age=ages)
    bands = {g.name: ages[g.rows].tolist() for g in subgroups_of(scored) if g.attribute == "age"}
    assert bands == {
        "0–19": [0, 19.9], "20–39": [20, 39], "40–59": [40, 59], "60–79": [60, 79], "80+": [80],
    }  # fmt: skip


def test_metrics_are_those_of_the_images_alone(make_scored_images):
    scored = make_scored_images()
    fit = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    table, positive = scored.predictions, decisions(scored.predictions, fit).positive
    women = np.flatnonzero(scored.sex == "F")
    group = table_of(scored, fit)["sex", "F"]
    assert (group["images"], group["patients"]) == (200, 100)
    aurocs = []
    for column, finding in enumerate(table.findings):
        labels, scores = table.labels[women, column], table.probabilities[women, column]
        entry = group["findings"][finding]
        aurocs.append(roc_auc_score(labels, scores))
        assert entry["auroc"]["value"] == pytest.approx(aurocs[-1], abs=1e-12)
        negative = ~positive[women, column][labels == 1]
        assert entry["fnr"]["value"] == pytest.approx(negative.mean(), abs=1e-12)
        false_positive = positive[women, column][labels == 0]
        assert entry["fpr"]["value"] == pytest.approx(false_positive.mean(), abs=1e-12)
        assert entry["auroc"]["low"] <= entry["auroc"]["value"] <= entry["auroc"]["high"]
    assert group["macro_auroc"]["value"] == pytest.approx(np.mean(aurocs))
    present = table.labels[women].any(axis=1)
    free = ~positive[women].any(axis=1)
    assert group["underdiagnosis"]["value"] == pytest.approx(free[present].mean(), abs=1e-12)


def test_small_groups_are_suppressed(make_scored_images):
    sex = np.array(["F"] * 18 + ["M"] * 382)
    groups = table_of(
        make_scored_images(sex=sex),
        fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x"),
    )
    few = groups["sex", "F"]
    assert (few["patients"], few["suppressed"], few["findings"]) == (9, True, {})
    assert np.isnan(few["macro_auroc"]["value"])
    assert not groups["sex", "M"]["suppressed"]


def test_a_finding_that_few_of_a_group_have_is_suppressed(make_scored_images):
    scored = make_scored_images()
    women = scored.sex == "F"
    scored.predictions.labels[women, 1] = 0
    scored.predictions.labels[np.flatnonzero(women)[:18:2], 1] = 1  # nine patients
    group = table_of(
        scored, fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    )["sex", "F"]
    assert np.isnan(group["findings"]["Edema"]["auroc"]["value"])
    assert np.isnan(group["findings"]["Edema"]["fnr"]["value"])
    assert np.isfinite(group["findings"]["Edema"]["fpr"]["value"])
    assert group["findings"]["Edema"]["positives"] == 9
    assert group["scored_findings"] == 1


def test_without_thresholds_there_are_no_rates(make_scored_images):
    group = table_of(make_scored_images())["sex", "F"]
    assert np.isfinite(group["macro_auroc"]["value"])
    assert np.isnan(group["underdiagnosis"]["value"])
    assert np.isnan(group["findings"]["Mass"]["fnr"]["value"])


def test_a_finding_without_a_threshold_has_no_rates_and_is_no_underdiagnosis(make_scored_images):
    scored = make_scored_images()
    fit = fit_on_validation(scored.predictions, "platt", "x")
    finding = scored.predictions.findings[0]
    without = replace(fit, thresholds={**fit.thresholds, finding: {"youden": np.nan}})
    group = table_of(scored, without)["sex", "F"]
    assert np.isnan(group["findings"][finding]["fnr"]["value"])
    assert np.isnan(group["findings"][finding]["fpr"]["value"])
    women, table = np.flatnonzero(scored.sex == "F"), scored.predictions
    positive = decisions(table, fit).positive[women][:, 1:]
    present = (table.labels * table.known)[women][:, 1:].any(axis=1)
    negative = present & ~positive.any(axis=1)
    assert group["underdiagnosis"]["value"] == pytest.approx(
        negative.sum() / present.sum(), abs=1e-12
    )


def test_differences_are_to_the_largest_group_over_shared_findings(make_scored_images):
    sex = np.array(["F"] * 160 + ["M"] * 240)
    scored = make_scored_images(sex=sex)
    scored.predictions.labels[:160, 1] = 0  # no woman has Edema
    fit = fit_on_validation(make_scored_images(seed=1).predictions, "platt", "x")
    groups = table_of(scored, fit, replicates=100)
    women, men = groups["sex", "F"], groups["sex", "M"]
    assert (men["reference"], men["differences"]) == (None, None)
    assert women["reference"] == "M"
    found = women["differences"]
    assert found["scored_findings"] == 1
    mass = [one["findings"]["Mass"] for one in (women, men)]
    expected = mass[0]["auroc"]["value"] - mass[1]["auroc"]["value"]
    assert found["macro_auroc"]["value"] == pytest.approx(expected, abs=1e-12)
    for name in ("auroc", "fnr", "fpr"):
        one = mass[0]["differences"][name]
        assert one["value"] == pytest.approx(mass[0][name]["value"] - mass[1][name]["value"])
        assert one["low"] < one["value"] < one["high"]
    edema = women["findings"]["Edema"]["differences"]
    assert np.isnan(edema["auroc"]["value"]) and np.isnan(edema["fnr"]["value"])
    assert np.isfinite(edema["fpr"]["value"])
    gain = found["underdiagnosis"]
    both = [one["underdiagnosis"]["value"] for one in (women, men)]
    assert gain["value"] == pytest.approx(both[0] - both[1])


def test_a_suppressed_group_is_neither_compared_nor_a_reference(make_scored_images):
    sex = np.array(["F"] * 6 + ["M"] * 394)
    groups = table_of(make_scored_images(sex=sex), replicates=50)
    for name in ("F", "M"):
        assert groups["sex", name]["reference"] is groups["sex", name]["differences"] is None
    assert groups["sex", "F"]["suppressed"]


def test_a_group_of_patients_all_of_whom_are_in_the_other_too(make_scored_images):
    """Two images a patient, one in each view: differences are more precise than apart."""
    scored = make_scored_images(view=np.array(["AP", "PA"] * 200))
    gains = []
    for owner in (np.arange(400) // 2, np.arange(400)):
        scored.predictions.patient_id[:] = owner
        scored.predictions.probabilities[1::2] = scored.predictions.probabilities[::2]
        scored.predictions.labels[1::2] = scored.predictions.labels[::2]
        group = table_of(scored, replicates=200)["view", "PA"]
        gains.append(group["differences"]["macro_auroc"])
    together, apart = (gain["high"] - gain["low"] for gain in gains)
    assert gains[0]["value"] == 0
    # not 0, as the two ends of an AUROC's interval are not equally far from it
    assert together < 0.25 * apart

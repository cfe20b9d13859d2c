"""What a site chooses, what it leaves as it was, and how the model does before and after."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.recalibration import NOT_LABELED, build_document, recalibrate
from deepchest_cli.evaluation.site_images import SiteImages
from deepchest_cli.evaluation.validation_fit import ValidationFit, fit_on_validation
from deepchest_cli.model.logistic import sigmoid

FINDINGS = ("Mass", "Edema", "Hernia")


def hospital(slope, intercept, seed, images=1600, findings=FINDINGS[:2], patients=2):
    """Return images whose label has the probability sigmoid(slope * logit + intercept)."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1, 1.5, (images, len(findings)))
    labels = (random.random(logits.shape) < sigmoid(slope * logits + intercept)).astype(np.uint8)
    owners = np.arange(images) // patients
    return Predictions(findings, sigmoid(logits), labels, np.ones_like(labels), owners)


def site_of(chosen_on, judged_on=None):
    return SiteImages("site", "1" * 64, "validation", chosen_on, judged_on, "test", ("Fracture",))


@pytest.fixture(scope="module")
def kept():
    """Chosen where the model was trained: its probabilities are right, and it knows Hernia."""
    return fit_on_validation(hospital(1, 0, 1, findings=FINDINGS), "platt", "0" * 64)


@pytest.fixture(scope="module")
def document(kept):
    """Half the slope and another prevalence: the model is too sure, and too positive."""
    images = site_of(hospital(0.5, -1.2, 2), hospital(0.5, -1.2, 3))
    found = recalibrate(FINDINGS, kept, images, "B", "platt")
    return build_document(found, kept, images, 200, 0)


def within(value, found):
    return found["low"] <= value <= found["high"]


def test_the_slope_is_1_and_the_intercept_0_after_and_not_before(document):
    for finding in FINDINGS[:2]:
        before, after = (document["findings"][finding][when] for when in ("before", "after"))
        for name, right in (("slope", 1), ("intercept", 0)):
            assert not within(right, before[name])
            assert within(right, after[name])
        assert after["ece"]["value"] < before["ece"]["value"] / 2


def test_intervals_after_hold_1_and_0_for_19_of_20_sites_of_few_images(kept):
    """As wide as the test images alone make them, they would hold them for 5 of 6."""
    held = {"slope": 0, "intercept": 0}
    sites = 200
    for seed in range(sites):
        chosen_on, judged_on = (hospital(0.5, -0.5, place + 2 * seed, 400) for place in (10, 11))
        images = site_of(chosen_on, judged_on)
        found = recalibrate(FINDINGS, kept, images, "B", "platt")
        after = build_document(found, kept, images, 0, 0)["findings"]["Mass"]["after"]
        held["slope"] += within(1, after["slope"])
        held["intercept"] += within(0, after["intercept"])
    # three standard errors of a proportion of 200 about 0.95
    assert all(abs(count / sites - 0.95) < 0.047 for count in held.values()), held


def test_the_chosen_sensitivity_is_met_on_other_images_after_and_not_before(document):
    for finding in FINDINGS[:2]:
        before, after = (
            document["findings"][finding][when]["operating_points"]["sensitivity_90"]["sensitivity"]
            for when in ("before", "after")
        )
        assert within(0.9, after)
        assert not within(0.9, before)


def test_a_finding_without_labels_keeps_what_the_model_had(kept, document):
    entry = document["findings"]["Hernia"]
    assert (entry["chosen_on"], entry["carried_over"]) == ("model", NOT_LABELED)
    assert entry["before"] is entry["after"] is entry["positives"] is None
    found = recalibrate(FINDINGS, kept, site_of(hospital(0.5, -1.2, 2)), "B", "platt")
    assert found.fit.thresholds["Hernia"] == kept.thresholds["Hernia"]
    assert found.fit.scalings["Hernia"] == kept.scalings["Hernia"]
    assert found.site.findings == FINDINGS[:2]
    assert found.fit.thresholds["Mass"] != kept.thresholds["Mass"]


def with_positives(count, finding=1):
    table = hospital(0.5, -1.2, 2)
    labels = table.labels.copy()
    labels[:, finding] = 0
    labels[np.argsort(table.probabilities[:, finding])[-count:], finding] = 1
    return replace(table, labels=labels)


def test_nine_positives_choose_nothing_and_ten_do(kept):
    nine, ten = (
        recalibrate(FINDINGS, kept, site_of(with_positives(count)), "B", "platt")
        for count in (9, 10)
    )
    assert nine.carried_over["Edema"] == (
        "fewer than 10 positives or negatives at the site (9 positives and 1,591 negatives)"
    )
    assert nine.fit.thresholds["Edema"] == kept.thresholds["Edema"]
    assert "Edema" in ten.site.findings
    assert ten.fit.thresholds["Edema"]["youden"] != kept.thresholds["Edema"]["youden"]


def test_one_class_only_is_carried_over(kept):
    table = hospital(0.5, -1.2, 2)
    labels = table.labels.copy()
    labels[:, 0] = 1
    found = recalibrate(FINDINGS, kept, site_of(replace(table, labels=labels)), "B", "platt")
    assert "(1,600 positives and 0 negatives)" in found.carried_over["Mass"]


def test_without_a_fit_in_the_model_there_is_nothing_to_carry_over():
    found = recalibrate(FINDINGS, None, site_of(hospital(0.5, -1.2, 2)), "B", "platt")
    assert np.isnan(found.fit.threshold("Hernia", "youden"))
    assert found.fit.scalings["Hernia"] is None
    assert set(found.fit.reasons("Hernia").values()) == {
        "not labeled by the site, and the model keeps none"
    }
    document = build_document(found, None, site_of(hospital(0.5, -1.2, 2)), 0, 0)
    before = document["findings"]["Mass"]["before"]
    assert before["calibrated"] is False and before["operating_points"]["youden"] is None


def test_a_site_that_chooses_for_no_finding_is_refused(kept):
    table = hospital(0.5, -1.2, 2, images=12)
    with pytest.raises(UsageError, match=r"B has too few .*: Mass .*not labeled by the site: Her"):
        recalibrate(FINDINGS, kept, site_of(table), "B", "platt")


def test_the_images_that_chose_judge_the_model_before_only(kept):
    images = replace(site_of(hospital(0.5, -1.2, 2)), judged_split="validation")
    found = recalibrate(FINDINGS, kept, images, "B", "temperature")
    document = build_document(found, kept, images, 0, 0)
    assert "would be optimistic" in document["judged_on"]["note"]
    assert document["judged_on"]["split"] == "validation"
    assert document["findings"]["Mass"]["before"] is not None
    assert document["findings"]["Mass"]["after"] is None
    assert document["calibration_method"] == "temperature"


def test_a_checkpoint_can_hold_a_site(kept, tmp_path):
    found = recalibrate(FINDINGS, kept, site_of(hospital(0.5, -1.2, 2)), "Hospital B", "platt")
    plain = found.fit.to_plain()
    section = {"name": "Hospital B", "images": 1600, "patients": 800, "data": "site"}
    assert section.items() <= plain["site"].items()
    torch.save(plain, tmp_path / "c.pt")
    again = ValidationFit.from_plain(torch.load(tmp_path / "c.pt", weights_only=True))
    assert repr(again) == repr(found.fit)
    assert again.images_named == (
        "1,600 validation images of Hospital B (carried over from the model before: Hernia)"
    )
    assert "images of the site chose" in again.caution.lower()

from types import SimpleNamespace

import numpy as np
import torch

from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.validation_fit import (
    EARLIER,
    ValidationFit,
    fit_by_data_set,
    fit_on_validation,
)


def validation():
    random = np.random.default_rng(0)
    labels = (random.random((300, 3)) < (0.3, 0.02, 0)).astype(np.uint8)
    scores = random.beta(1 + labels, 4)
    return Predictions(("a", "b", "c"), scores, labels, np.ones_like(labels), np.arange(300) // 2)


def test_rare_findings_are_left_uncalibrated_and_said():
    fit = fit_on_validation(validation(), "platt", "x")
    assert (fit.images, fit.patients) == (300, 150)
    assert fit.scalings["a"] is not None
    assert fit.scalings["b"] is None
    assert fit.uncalibrated.keys() == {"b", "c"}
    assert np.isfinite(fit.threshold("a", "youden"))
    assert np.isnan(fit.threshold("b", "youden"))
    assert np.isnan(fit.threshold("c", "youden"))
    assert fit.reasons("a") == {}
    assert set(fit.reasons("b").values()) == {fit.uncalibrated["b"]}
    assert fit.reasons("b").keys() == RULES.keys()
    assert np.isnan(fit.threshold("other", "youden"))
    table = validation()
    calibrated = fit.calibrated(table)
    assert np.array_equal(calibrated[:, 1:], table.probabilities[:, 1:])
    assert abs(calibrated[:, 0].mean() - table.labels[:, 0].mean()) < 1e-6


def test_a_checkpoint_can_hold_them(tmp_path):
    fit = fit_on_validation(validation(), "temperature", "x")
    torch.save(fit.to_plain(), tmp_path / "c.pt")
    again = ValidationFit.from_plain(torch.load(tmp_path / "c.pt", weights_only=True))
    assert repr(again) == repr(fit)  # NaN is unequal to itself


def test_a_fit_of_version_0_1_has_no_reasons():
    """Nor the rule that is confident; its thresholds stay as they are."""
    plain = fit_on_validation(validation(), "platt", "x").to_plain()
    for entry in plain["findings"].values():
        del entry["no_operating_point"], entry["operating_points"]["sensitivity_90_confidence_95"]
    fit = ValidationFit.from_plain(plain)
    assert fit.reasons("a") == {"sensitivity_90_confidence_95": EARLIER}
    assert np.isfinite(fit.threshold("a", "youden"))


def test_unknown_labels_are_not_used():
    table = validation()
    known = np.ones_like(table.labels)
    known[:, 0] = np.arange(300) < 100
    some = Predictions(table.findings, table.probabilities, table.labels, known, table.patient_id)
    assert fit_on_validation(some, "platt", "x").positives["a"] == table.labels[:100, 0].sum()


def two_data_sets():
    """Two data sets with 150 images each, all of them of validation."""
    members = tuple(SimpleNamespace(name=name, sha256=f"hash {name}") for name in "xy")
    return SimpleNamespace(
        members=members,
        member=np.repeat([0, 1], 150),
        rows=lambda split: np.arange(300),
        sha256="hash of both",
    )


def test_each_data_set_of_training_has_a_fit_of_its_own_beside_that_of_all():
    table = validation()
    table.known[150:, 0] = 0  # the second data set does not label it
    table.labels[:, 1] = np.tile([1, 0], 150)  # each of them can choose for this one
    fit = fit_by_data_set(table, two_data_sets(), "platt")
    pooled = fit_on_validation(table, "platt", "hash of both")
    assert fit.thresholds["a"] == pooled.thresholds["a"]
    assert fit.images_named == "validation of x and y"
    first, second = fit.each
    alone = fit_on_validation(table.of_rows(np.arange(150, 300)), "platt", "hash y")
    assert (second.source, second.images) == ("hash y", 150)
    assert second.thresholds["b"] == alone.thresholds["b"] != pooled.thresholds["b"]
    assert second.scalings["b"] == alone.scalings["b"]
    # what it could not choose is that of all
    assert second.carried_over == ("a",) and first.carried_over == ()
    assert second.thresholds["a"] == pooled.thresholds["a"]
    assert second.images_named == "validation of y (a: of all data sets)"
    again = ValidationFit.from_plain(fit.to_plain())
    assert str(again.to_plain()) == str(fit.to_plain())  # NaN is not equal to itself
    assert [one.images_named for one in again.each] == [one.images_named for one in fit.each]


def test_one_data_set_of_training_is_the_case_of_one():
    dataset = two_data_sets()
    dataset.members = dataset.members[:1]
    fit = fit_by_data_set(validation(), dataset, "platt")
    assert (fit.each, fit.data_sets, fit.images_named) == ((), (), "validation")
    assert "data_sets" not in fit.to_plain()

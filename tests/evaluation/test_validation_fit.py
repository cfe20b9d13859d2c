import numpy as np
import torch

from deepchest_cli.evaluation.operating_points import RULES
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.validation_fit import EARLIER, ValidationFit, fit_on_validation


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

import numpy as np
import torch

from deepchest_cli.evaluation.choices import Choices, choose
from deepchest_cli.evaluation.predictions import Predictions


def validation():
    random = np.random.default_rng(0)
    labels = (random.random((300, 3)) < (0.3, 0.02, 0)).astype(np.uint8)
    scores = random.beta(1 + labels, 4)
    return Predictions(("a", "b", "c"), scores, labels, np.ones_like(labels), np.arange(300) // 2)


def test_rare_findings_are_left_uncalibrated_and_said():
    choices = choose(validation(), "platt", "x")
    assert (choices.images, choices.patients) == (300, 150)
    assert choices.scalings["a"] is not None
    assert choices.scalings["b"] is None
    assert choices.uncalibrated.keys() == {"b", "c"}
    assert np.isfinite(choices.threshold("b", "youden"))
    assert np.isnan(choices.threshold("c", "youden"))
    assert np.isnan(choices.threshold("other", "youden"))
    table = validation()
    calibrated = choices.calibrated(table)
    assert np.array_equal(calibrated[:, 1:], table.probabilities[:, 1:])
    assert abs(calibrated[:, 0].mean() - table.labels[:, 0].mean()) < 1e-6


def test_a_checkpoint_can_hold_them(tmp_path):
    choices = choose(validation(), "temperature", "x")
    torch.save(choices.to_plain(), tmp_path / "c.pt")
    again = Choices.from_plain(torch.load(tmp_path / "c.pt", weights_only=True))
    assert repr(again) == repr(choices)  # NaN is unequal to itself


def test_unknown_labels_are_not_looked_at():
    table = validation()
    known = np.ones_like(table.labels)
    known[:, 0] = np.arange(300) < 100
    part = Predictions(table.findings, table.probabilities, table.labels, known, table.patient_id)
    assert choose(part, "platt", "x").positives["a"] == table.labels[:100, 0].sum()

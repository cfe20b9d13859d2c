import numpy as np
import pytest

from deepchest_cli.errors import ExitCode, GateError, UsageError
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.report import build_report, check_gates, parse_gate


@pytest.fixture
def report():
    labels = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.1], [0.6, 0.1], [0.4, 0.1], [0.1, 0.1]])
    return build_report(
        Predictions(("a", "b"), probabilities, labels, np.ones_like(labels), np.array([1, 1, 2, 3]))
    )


def test_counts(report):
    assert (report["images"], report["patients"]) == (4, 3)
    assert report["findings"]["a"]["positives"] == 2
    assert report["findings"]["b"]["positives"] == 0


def test_undefined_figures_are_listed_and_not_in_the_mean(report):
    assert {"finding": "b", "metric": "auroc"} in report["undefined"]
    assert report["macro"]["auroc"] == 0.75


def test_gates(report):
    check_gates([report], [("auroc", 0.75), ("accuracy", 0.5)])
    with pytest.raises(GateError, match="macro auroc is 0.7500, below 0.76") as error:
        check_gates([report], [("auroc", 0.76), ("accuracy", 0.5)])
    assert error.value.exit_code == ExitCode.GATE_NOT_MET


def test_an_undefined_mean_misses_its_gate(report):
    report["macro"]["auroc"] = float("nan")
    with pytest.raises(GateError):
        check_gates([report], [("auroc", 0.1)])


@pytest.mark.parametrize(("metric", "value"), [("aurok", "0.5"), ("loss", "1"), ("auroc", "high")])
def test_a_gate_that_cannot_be_is_refused(metric, value):
    with pytest.raises(UsageError):
        parse_gate(metric, value)


def test_a_missed_gate_is_seen_to_be_missed():
    report = {"macro": {"auroc": 0.749996}, "worst": {}}
    with pytest.raises(GateError, match="macro auroc is 0.749996, below 0.750000"):
        check_gates([report], [("auroc", 0.75)])

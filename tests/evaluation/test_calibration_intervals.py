import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.calibration import calibration_fits, calibration_metrics
from deepchest_cli.evaluation.calibration_intervals import (
    calibration_with_intervals,
    ece_if_calibrated,
    robust_error,
)
from deepchest_cli.evaluation.weighted import PatientIndex

REPLICATES = 200


def drawn(images=600, slope=1.0, shift=0.0, seed=0, base=-2.0):
    random = np.random.default_rng(seed)
    logits = base + random.normal(size=images)
    labels = (random.random(images) < expit(slope * logits + shift)).astype(np.uint8)
    return labels, expit(logits)


def found_for(labels, probabilities, owner=None, replicates=REPLICATES):
    owner = np.arange(max(len(labels), 1)) if owner is None else owner
    draws = resample_patients(owner, replicates, seed=0)
    return calibration_with_intervals(labels, probabilities, np.arange(len(labels)), draws)


def width(ends):
    return ends["high"] - ends["low"]


def test_metrics_are_those_without_intervals():
    labels, probabilities = drawn()
    found = found_for(labels, probabilities)
    plain = calibration_metrics(labels, probabilities)
    assert {key: found[key] for key in plain} == plain
    for name, ends in found["intervals"].items():
        assert ends["low"] <= found[name] <= ends["high"]
        assert width(ends) > 0


def test_the_robust_error_is_that_of_the_formula_written_out():
    """White's variance, here each patient with two images, by a sum over the patients."""
    labels, probabilities = drawn(400)
    owner = np.arange(400) // 2
    columns, offset, coefficients = calibration_fits(labels, probabilities)[0]
    given = expit(offset + columns @ coefficients)
    bread = np.linalg.inv(columns.T @ np.diag(given * (1 - given)) @ columns)
    meat = np.zeros((2, 2))
    for patient in range(200):
        own = columns[owner == patient].T @ (labels - given)[owner == patient]
        meat += np.outer(own, own)
    expected = np.sqrt((bread @ meat @ bread)[0, 0])
    index = PatientIndex(owner, 200)
    found = robust_error(columns, offset, coefficients, labels, index)
    assert found == pytest.approx(expected, rel=1e-9)


def test_images_counted_twice_make_no_interval_narrower():
    labels, probabilities = drawn(300)
    once = found_for(labels, probabilities)["intervals"]
    twice = found_for(np.tile(labels, 2), np.tile(probabilities, 2), np.tile(np.arange(300), 2))
    for name in ("slope", "intercept"):
        assert width(twice["intervals"][name]) == pytest.approx(width(once[name]), rel=1e-6)
    assert width(twice["intervals"]["ece"]) == pytest.approx(width(once["ece"]), rel=0.05)


def test_the_ece_of_a_calibrated_model_is_not_zero_and_falls_with_the_images():
    for images in (500, 50_000):
        labels, probabilities = drawn(images)
        found = found_for(labels, probabilities, replicates=50)
        assert found["ece"] == pytest.approx(found["ece_if_calibrated"], rel=0.5)
        assert found["intervals"]["ece"]["low"] == 0
    assert 0 < found["ece_if_calibrated"] < 0.004


def test_the_ece_by_chance_is_that_of_coins():
    """Ten bins of ten coins: E |Binomial(10, 0.5) - 5| / 10 = 1.2305 / 10, De Moivre's formula."""
    probabilities = 0.5 + 1e-9 * np.arange(100)
    assert ece_if_calibrated(probabilities).mean() == pytest.approx(0.12305, abs=0.005)
    one, two = ece_if_calibrated(probabilities), ece_if_calibrated(probabilities)
    assert np.array_equal(one, two)


def test_a_miscalibrated_model_is_told():
    found = found_for(*drawn(4000, slope=0.5, shift=-1.5))
    ends = found["intervals"]
    assert ends["ece"]["low"] > found["ece_if_calibrated"]
    assert ends["slope"]["high"] < 1 and ends["intercept"]["high"] < 0


def test_intervals_cover():
    """Of 300 repetitions, about 94 to 97 % of slopes and intercepts; ECE at least as many."""
    held = dict.fromkeys(("slope", "intercept", "ece"), 0)
    truth = {"slope": 1, "intercept": 0, "ece": 0}
    for seed in range(300):
        labels, probabilities = drawn(250, seed=seed)
        ends = found_for(labels, probabilities, replicates=100)["intervals"]
        for name, value in truth.items():
            held[name] += ends[name]["low"] <= value <= ends[name]["high"]
    assert all(count / 300 > 0.915 for count in held.values()), held
    assert max(held["slope"], held["intercept"]) / 300 < 0.99


def test_bins_of_the_diagram_have_wilsons_intervals():
    labels, probabilities = drawn(1000)
    bins = found_for(labels, probabilities)["bins"]
    assert sum(one["images"] for one in bins) == 1000
    assert len(bins) > 5
    assert_wilson(bins, 1, 1e-6)
    # of two images of each patient, all alike, every second one says nothing more
    twice = found_for(np.tile(labels, 2), np.tile(probabilities, 2), np.tile(np.arange(1000), 2))
    assert_wilson(twice["bins"], 2, 0.01)


def assert_wilson(bins, each, tolerance):
    for one in bins:
        images = one["images"] // each
        ends = binomtest(round(one["observed"] * images), images).proportion_ci(method="wilson")
        assert (one["low"], one["high"]) == pytest.approx(
            tuple(ends), abs=0.01 if each > 1 else 1e-6
        )


def test_intervals_of_bins_cover():
    """The mean true probability of a bin's images, over 100 repetitions with two images each."""
    held = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        truth = np.repeat(expit(-2 + random.normal(size=500)), 2)
        labels = (random.random(1000) < truth).astype(np.uint8)
        found = found_for(labels, truth, np.arange(1000) // 2, replicates=1)["bins"]
        held += [one["low"] <= one["predicted"] <= one["high"] for one in found]
    assert 0.935 < np.mean(held) < 0.98


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ([], []),
        ([0], [0.3]),
        ([0] * 40, np.linspace(0.1, 0.9, 40)),
        ([1] * 40, np.linspace(0.1, 0.9, 40)),
        ([1] + [0] * 39, np.linspace(0.1, 0.9, 40)),
        ([0, 1] * 20, np.full(40, 0.3)),
        ([0] * 20 + [1] * 20, np.linspace(0.1, 0.9, 40)),
        ([0, 1] * 20, [0.0, 1.0] * 20),
    ],
    ids=["none", "one", "negative", "positive", "one positive", "equal", "separated", "certain"],
)
@pytest.mark.parametrize("replicates", [0, 100])
def test_where_there_is_nothing_to_say_there_is_no_interval(labels, probabilities, replicates):
    with np.errstate(divide="raise", invalid="raise"):
        found = found_for(
            np.array(labels, np.uint8), np.array(probabilities), replicates=replicates
        )
    for ends in found["intervals"].values():
        assert np.isnan(ends["low"]) == np.isnan(ends["high"])
        assert width(ends) != 0


def test_one_patient_has_no_interval():
    labels, probabilities = drawn(40)
    found = found_for(labels, probabilities, np.zeros(40, int))
    assert np.isnan([end for ends in found["intervals"].values() for end in ends.values()]).all()

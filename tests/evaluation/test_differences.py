import math

import numpy as np
import pytest
from scipy import stats

from deepchest_cli.evaluation.differences import (
    group_difference,
    macro_carriers,
    paired_difference,
)
from deepchest_cli.evaluation.statistics import Carriers

CHANCE = np.random.default_rng(0)


def test_a_paired_difference_is_a_t_test_on_effective_patients():
    """For a mean the bootstrap's variance times n / (n - 1) is the usual one: the t-test."""
    own = 0.1 * CHANCE.normal(0.3, 1, 30)
    draws = CHANCE.multinomial(30, np.full(30, 1 / 30), size=40_000) / 30
    found = paired_difference(own.mean(), draws @ own, Carriers.of(30))
    expected = stats.ttest_1samp(own, 0)
    assert found.p == pytest.approx(expected.pvalue, rel=0.05)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.001)


def test_interval_and_p_value_agree():
    replicates = 0.1 * CHANCE.normal(size=500)
    edge = stats.t.ppf(0.975, 19) * replicates.std(ddof=1) * np.sqrt(20 / 19)
    assert paired_difference(edge * 0.999, replicates, Carriers.of(20)).p > 0.05
    assert paired_difference(edge * 0.999, replicates, Carriers.of(20)).low < 0
    assert paired_difference(edge * 1.001, replicates, Carriers.of(20)).p < 0.05
    assert paired_difference(edge * 1.001, replicates, Carriers.of(20)).low > 0


def test_few_replicates_make_a_wider_interval_not_a_narrower_one():
    replicates = np.tile([-0.1, 0.1], 5)
    few, many = (
        paired_difference(0.1, one, Carriers.of(500))
        for one in (replicates, np.tile(replicates, 100))
    )
    assert few.high - few.low > many.high - many.low


def test_no_end_lies_beyond_what_is_possible():
    found = paired_difference(0.5, CHANCE.normal(size=500), Carriers.of(3))
    assert (found.low, found.high) == (-1, 1)


@pytest.mark.parametrize(
    ("value", "replicates", "patients", "reason"),
    [
        (np.nan, CHANCE.normal(size=9), 20, "undefined"),
        (0.1, CHANCE.normal(size=9), 1.0, "too few patients"),
        (0.1, np.empty(0), 20, "fewer than two bootstrap"),
        (0.1, np.full(9, np.nan), 20, "fewer than two bootstrap"),
        (0.0, np.zeros(9), 20, "the same in every bootstrap replicate"),
        (0.5, np.full(9, 0.5), 20, "the same in every bootstrap replicate"),
    ],
)
def test_why_a_difference_is_not_tested(value, replicates, patients, reason):
    found = paired_difference(value, replicates, Carriers.of(patients))
    assert found.p is None and math.isnan(found.low) and math.isnan(found.high)
    assert reason in found.not_tested


def test_a_mean_rests_on_the_patients_of_its_uncertain_findings():
    """Of equal variances the numbers add up (Satterthwaite); one that dominates counts alone."""
    replicates = CHANCE.normal(size=(4000, 3))
    replicates = (replicates - replicates.mean(axis=0)) / replicates.std(axis=0)
    equal = macro_carriers(replicates, np.array([11.0, 11.0, 11.0]))
    assert equal.number == pytest.approx(1 + 3 * 10)
    assert equal.inflation == pytest.approx(1.1)
    rare = macro_carriers(replicates * (100, 1, 1), np.array([3.0, 200.0, 200.0]))
    assert rare.number == pytest.approx(3, rel=0.01)
    assert rare.too_few
    replicates[:, 2] = np.nan  # a finding that no replicate defines
    some = macro_carriers(replicates, np.array([11.0, 11.0, 0.0]))
    assert some.number == pytest.approx(1 + 2 * 10)
    assert macro_carriers(np.empty((0, 2)), np.array([5.0, 5.0])).too_few
    assert np.isfinite(macro_carriers(np.zeros((9, 2)), np.array([15.0, 0.0])).number)


def rate(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_newcombes_example_of_two_rates():
    """Newcombe 1998, table II: 56 / 70 minus 48 / 80 by Wilson's intervals, 0.0524 to 0.3339."""
    wilson = [
        stats.binomtest(*pair).proportion_ci(method="wilson") for pair in ((56, 70), (48, 80))
    ]
    one, two = (
        rate(value, ends.low, ends.high)
        for value, ends in zip((56 / 70, 48 / 80), wilson, strict=True)
    )
    found = group_difference(one, two, (np.zeros(5), np.zeros(5)))
    assert found["value"] == pytest.approx(0.2)
    assert (found["low"], found["high"]) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert group_difference(one, two) == found  # of groups without a common patient


def test_shared_patients_make_a_difference_more_precise():
    one, two = rate(0.8, 0.7, 0.9), rate(0.7, 0.6, 0.8)
    shared = CHANCE.normal(size=200)
    own = CHANCE.normal(size=(2, 200))
    apart = group_difference(one, two, (own[0], own[1]))
    together = group_difference(one, two, (shared + 0.5 * own[0], shared + 0.5 * own[1]))
    assert together["high"] - together["low"] < 0.6 * (apart["high"] - apart["low"])
    mirrored = group_difference(two, one, (own[1], own[0]))
    assert (mirrored["low"], mirrored["high"]) == pytest.approx((-apart["high"], -apart["low"]))


def test_what_is_undefined_in_a_group_has_no_difference():
    nothing = rate(np.nan, np.nan, np.nan)
    found = group_difference(nothing, rate(0.7, 0.6, 0.8), (np.full(5, np.nan), np.ones(5)))
    assert np.isnan(list(found.values())).all()
    without = group_difference(
        rate(0.7, np.nan, np.nan), rate(0.6, 0.5, 0.7), (np.empty(0), np.empty(0))
    )
    assert without["value"] == pytest.approx(0.1) and math.isnan(without["low"])

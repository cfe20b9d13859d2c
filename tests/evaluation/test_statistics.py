import numpy as np
import pytest

from deepchest_cli.evaluation.statistics import (
    LEVEL,
    Difference,
    difference,
    half_width,
    holm,
    mean_of_defined,
    min_of_defined,
    verdict,
)

PATIENTS, REPLICATES, REPETITIONS = 60, 200, 10_000  # of the simulation


def test_holm_as_worked_by_hand():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])


def test_two_seeds_give_an_estimate_and_no_test():
    found = difference(np.array([0.1, 0.3]), np.zeros((2, 10)))
    assert found.estimate == pytest.approx(0.2)
    assert (found.p_value(), found.interval()) == (None, None)


def test_without_patients_in_common_it_is_the_paired_t_test_of_the_seeds():
    from scipy import stats

    seeds = np.array([0.01, 0.03, 0.02, 0.05])
    found = difference(seeds, np.tile(seeds[:, None], 10))
    assert found.p_value() == pytest.approx(stats.ttest_1samp(seeds, 0).pvalue)


def test_variance_due_to_patients_widens_the_interval():
    seeds, shift = np.array([0.01, 0.03, 0.02]), np.random.default_rng(0).normal(0, 0.1, 500)
    found = difference(seeds, seeds[:, None] + shift)
    assert found.patient_variance == pytest.approx(shift.var(ddof=1))
    low, high = found.interval()
    assert low < -0.1
    assert high > 0.1


def test_seeds_needed_are_the_smallest_number_for_significance():
    one = Difference(0.01, 3, 0.02**2, 1e-6)
    needed = one.seeds_needed()
    enough, short = (Difference(0.01, n, 0.02**2, 1e-6).p_value() for n in (needed, needed - 1))
    assert enough < LEVEL <= short
    assert Difference(0.01, 3, 0.02**2, 0.02**2).seeds_needed() is None


def test_few_rounds_have_wide_intervals():
    from scipy import stats

    values = [1.0, 1.2, 1.1]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize("seeds", [3, 5])
def test_at_most_six_percent_of_true_null_hypotheses_are_rejected(seeds):
    chance = np.random.default_rng(seeds)
    shares = np.full(PATIENTS, 1 / PATIENTS)
    draws = chance.multinomial(PATIENTS, shares, size=REPLICATES) / PATIENTS
    found = 0
    for _ in range(REPETITIONS):
        # what patients do to all seeds alike, and to single ones: the hardest mixture known
        effects = 0.3 * chance.standard_normal(PATIENTS) + chance.standard_normal((seeds, PATIENTS))
        one = difference(effects.mean(axis=1), effects @ draws.T)
        p = one.p_value()
        assert p is not None
        found += p < 0.05
    assert found / REPETITIONS <= 0.06


@pytest.mark.parametrize(
    ("estimate", "p_holm", "lower_is_better", "expected"),
    [
        (0.1, 0.01, False, "better"),
        (0.1, 0.01, True, "worse"),
        (-0.1, 0.01, True, "better"),
        (0.1, 0.05, False, "inconclusive"),
        (0.1, None, False, "inconclusive"),
        (float("nan"), None, False, "not measured"),
    ],
)
def test_verdicts(estimate, p_holm, lower_is_better, expected):
    assert verdict(estimate, p_holm, lower_is_better) == expected


def test_means_and_minima_ignore_undefined_values():
    table = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert mean_of_defined(table) == pytest.approx([2, np.nan], nan_ok=True)
    assert min_of_defined(table) == pytest.approx([1, np.nan], nan_ok=True)

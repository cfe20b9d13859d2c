import numpy as np
import pytest

from deepchest_cli.evaluation.statistics import (
    LEVEL,
    POWER,
    SAME,
    Carriers,
    Difference,
    combined_carriers,
    difference,
    half_width,
    holm,
    mean_of_defined,
    min_of_defined,
    outlying,
    verdict,
)

REPLICATES, REPETITIONS = 200, 4000  # of the simulations


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


def test_the_critical_value_is_the_mean_of_those_for_seeds_and_for_patients():
    from scipy import stats

    one = Difference(0.0, 4, seed_variance=4 * 3.0, patient_variance=1.0, patients=11)
    value = (3 * stats.t.ppf(0.975, 3) + stats.t.ppf(0.975, 10)) / 4
    assert one.interval() == pytest.approx((-2 * value, 2 * value))


@pytest.mark.parametrize("patients", [2.5, 10, 1e4, float("inf")])
def test_p_values_and_intervals_agree(patients):
    one = Difference(0.01, 3, 1e-4, 2e-5, patients=patients)
    for level in (0.5, 0.05, 0.001):
        low, high = one.interval(level)
        assert Difference(high - 0.01, 3, 1e-4, 2e-5, patients=patients).p_value() == (
            pytest.approx(level)
        )
        assert one.p_above(low) == pytest.approx(level / 2)
        assert one.p_below(high) == pytest.approx(level / 2)
        assert one.p_above(high) == pytest.approx(1 - level / 2)
    assert one.p_equivalence(0.05) == pytest.approx(one.p_below(0.05))
    assert one.p_equivalence(0) >= 0.5  # nothing is within a margin of zero


def test_a_huge_difference_has_a_p_value_above_zero():
    for seeds, patients in ((3, 10), (30, 1e6)):
        p = Difference(1e9, seeds, 1e-4, 1e-5, patients=patients).p_value()
        assert 0 < p < 1e-9


@pytest.mark.parametrize(
    ("by_seed", "by_replicate", "patients", "reason"),
    [
        ([0.1], np.zeros((1, 9)), 50, "a test takes 3 or more seeds"),
        ([0.1, 0.2], np.zeros((2, 9)), 50, "a test takes 3 or more seeds"),
        ([0.1, np.nan, 0.2], np.zeros((3, 9)), 50, "the metric is undefined"),
        ([0.1, 0.2, 0.3], np.ones((3, 9)), 1, "too few patients carry the metric"),
        ([0.1, 0.2, 0.3], np.full((3, 9), np.nan), 50, "too few patients carry the metric"),
        ([0.1] * 3, np.full((3, 9), 0.1), 50, SAME),
    ],
)
def test_what_cannot_be_tested_says_why(by_seed, by_replicate, patients, reason):
    one = difference(np.array(by_seed), by_replicate, Carriers.of(patients))
    assert one.untested == reason
    assert (one.p_value(), one.interval(), one.p_equivalence(0.01)) == (None, None, None)
    assert one.seeds_needed(0.01) is None


@pytest.mark.parametrize(
    "by_seed", [np.full(3, 0.1), np.array([0.85 - 0.75, 0.86 - 0.76, 0.87 - 0.77])]
)
def test_seeds_that_agree_but_for_rounding_are_not_without_variance(by_seed):
    chance = np.random.default_rng(0)
    one = difference(by_seed, 0.1 + 0.01 * chance.normal(size=(3, 500)), Carriers.of(50))
    assert one.seed_variance == one.interaction_variance > 0
    low, high = one.interval()
    assert low < 0.1 < high


def test_seeds_needed_have_the_power_at_the_margin():
    margin, seed_sd, patients = 0.01, 0.02, 100
    one = Difference(0.3, 3, seed_sd**2, 1e-6, patients=patients)  # whatever was observed
    needed = one.seeds_needed(margin)
    chance = np.random.default_rng(0)
    for seeds, enough in ((needed, True), (needed - 8, False)):
        seed_means = chance.normal(margin, seed_sd / np.sqrt(seeds), REPETITIONS)
        variances = seed_sd**2 * chance.chisquare(seeds - 1, REPETITIONS) / (seeds - 1)
        found = [
            not low <= 0 <= high
            for mean, variance in zip(
                seed_means + chance.normal(0, 1e-3, REPETITIONS), variances, strict=True
            )
            for low, high in [Difference(mean, seeds, variance, 1e-6, patients=patients).interval()]
        ]
        assert bool(np.mean(found) > POWER - 0.02) is enough
    assert one.seeds_needed(0) is None
    assert Difference(0.01, 3, 1e-4, 0.02**2, patients=50).seeds_needed(0.01) is None


@pytest.mark.parametrize("seeds", [3, 10, 25])
def test_a_difference_that_is_detectable_needs_no_more_seeds(seeds):
    one = Difference(0.3, seeds, 0.02**2, 1e-6, patients=100)
    found = one.detectable(level=0.01)
    assert one.seeds_needed(found * 1.001, level=0.01) == seeds
    assert one.seeds_needed(found * 0.95, level=0.01) > seeds
    assert one.detectable() < found
    assert Difference(0.3, 1, untested="few").detectable() is None


def test_more_test_patients_have_the_power_at_the_margin():
    """What patients cause shrinks with their number; what the seeds cause by themselves stays."""
    margin, seeds, patients = 0.02, 5, 60
    seed_sd, interaction, shared = 0.004, 0.015, 0.012
    one = Difference(0.3, seeds, seed_sd**2 + interaction**2, shared**2, interaction**2, patients)
    needed = one.patients_factor_needed(margin)
    assert 1.5 < needed < 6
    chance = np.random.default_rng(0)
    for factor, enough in ((needed, True), (needed - 0.7, False)):
        both, count = seed_sd**2 + interaction**2 / factor, round(factor * patients)
        own = chance.normal(0, np.sqrt(both), (REPETITIONS, seeds))
        common = chance.normal(margin, shared / np.sqrt(factor), REPETITIONS)
        variances = shared**2 / factor * chance.chisquare(count - 1, REPETITIONS) / (count - 1)
        found = [
            not low <= 0 <= high
            for mean, a, b in zip(
                own.mean(axis=1) + common, own.var(axis=1, ddof=1), variances, strict=True
            )
            for low, high in [Difference(mean, seeds, a, b, patients=count).interval()]
        ]
        assert bool(np.mean(found) > POWER - 0.02) is enough
    assert one.patients_factor_needed(0) is None
    assert Difference(0.01, 3, 0.03**2, 1e-6, 0.0, 50).patients_factor_needed(0.01) is None
    assert Difference(0.01, 3, 1e-8, 1e-8, 1e-9, 50).patients_factor_needed(0.01) == 1
    assert Difference(0.01, 3, untested="x").patients_factor_needed(0.01) is None


def test_patients_behind_a_mean_are_those_of_the_rarest_finding_or_of_all():
    alike = combined_carriers(np.array([50.0] * 4))
    assert alike.number == pytest.approx(1 + 4 * 49)
    assert alike.inflation == pytest.approx(50 / 49)  # each finding's own, not the mean's 197 / 196
    assert combined_carriers(np.array([20.0, 0.0])) == Carriers.of(20)  # 0: not in the mean
    assert combined_carriers(np.array([3.0, 1000.0])).number == pytest.approx(3, abs=0.05)
    assert combined_carriers(np.array([])).too_few
    measured = combined_carriers(np.array([20.0, 100.0]), np.array([1.0, 0.0]))
    assert measured.number == pytest.approx(20)
    assert measured.inflation == pytest.approx(20 / 19)


@pytest.mark.parametrize(
    ("patients", "tested"),
    [([9.0, 9, 100], False), ([1.0, 40, 40], False), ([9.0, 11, 11], True), ([10.0, 10], True)],
)
def test_a_mean_of_findings_of_a_few_patients_is_not_tested(patients, tested):
    assert (not combined_carriers(np.array(patients)).too_few) is tested


def test_a_collapsed_seed_is_outlying_and_an_ordinary_one_is_not():
    chance = np.random.default_rng(0)
    arms = [0.8 + 0.01 * chance.normal(size=3) for _ in range(4)]
    assert not np.concatenate(outlying(arms, 0.005)).any()
    arms[0][1] = arms[2][0] = 0.5  # two of them: neither hides the other
    marks = outlying(arms, 0.005)
    assert np.argwhere(np.stack(marks)).tolist() == [[0, 1], [2, 0]]
    assert not np.concatenate(outlying([np.array([0.8, 0.8, 0.803])] * 2, 0.005)).any()
    # one that varies ten times as much as the others has its own scale
    wild, steady = 0.8 + 0.1 * chance.normal(size=8), 0.8 + 0.01 * chance.normal(size=(9, 8))
    assert not np.concatenate(outlying([wild, *steady], 0.005)).any()
    assert outlying([np.array([0.8, 0.8, 0.7]), np.full(3, 0.8)], 0.005)[0].tolist()[2]


def test_few_rounds_have_wide_intervals():
    from scipy import stats

    values = [1.0, 1.2, 1.1]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(
    ("seeds", "patients", "by_seed", "shared"),
    [(3, 60, 0.95, 0.05), (3, 60, 0.9, 0.1), (5, 60, 0.9, 0.1), (3, 60, 0.0, 0.1), (10, 10, 0, 1)],
)
def test_true_null_hypotheses_are_seldom_rejected(seeds, patients, by_seed, shared):
    """Variances of the mean difference: of seeds, of patients in all seeds; the rest is of both."""
    chance = np.random.default_rng(seeds)
    shares, both = np.full(patients, 1 / patients), max(1 - by_seed - shared, 0)
    draws = chance.multinomial(patients, shares, size=REPLICATES) / patients
    found = equivalent = 0
    for _ in range(REPETITIONS):
        effects = np.sqrt(both * patients * seeds) * chance.normal(size=(seeds, patients))
        effects += np.sqrt(shared * patients) * chance.normal(size=patients)
        moved = np.sqrt(by_seed * seeds) * chance.normal(size=(seeds, 1))
        one = difference(
            effects.mean(axis=1) + moved[:, 0], effects @ draws.T + moved, Carriers.of(patients)
        )
        low, high = one.interval()
        found += not low <= 0 <= high
        # a true difference as large as the margin: the whole 90 % interval is within it
        low, high = one.interval(2 * LEVEL)
        equivalent += low > -8 and high < 0
    assert 0.02 < found / REPETITIONS <= 0.055
    assert 0.02 < equivalent / REPETITIONS <= 0.055


@pytest.mark.parametrize(
    ("estimate", "p_holm", "p_equivalence", "lower_is_better", "expected"),
    [
        (0.1, 0.01, None, False, "better"),
        (0.1, 0.01, 0.9, True, "worse"),
        (-0.1, 0.01, None, True, "better"),
        (0.1, 0.05, 0.05, False, "inconclusive"),
        (0.001, 0.5, 0.01, False, "equivalent"),
        (0.001, 0.01, 0.01, False, "equivalent"),  # significant, and smaller than what matters
        (0.1, None, None, False, "inconclusive"),
        (float("nan"), None, None, False, "not measured"),
    ],
)
def test_verdicts(estimate, p_holm, p_equivalence, lower_is_better, expected):
    assert verdict(estimate, p_holm, p_equivalence, lower_is_better) == expected


def test_means_and_minima_ignore_undefined_values():
    table = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    assert mean_of_defined(table) == pytest.approx([2, np.nan], nan_ok=True)
    assert min_of_defined(table) == pytest.approx([1, np.nan], nan_ok=True)

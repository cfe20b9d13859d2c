import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import Context, TaskLosses
from deepchest_cli.weighting.prevalence import PrevalenceWeighter

TASKS = ("a", "b", "c")


def weighter_of(prevalence, **options):
    tasks = [f"task {i}" for i in range(len(prevalence))]
    return PrevalenceWeighter(
        tasks, **options, context=Context(prevalence=torch.tensor(prevalence))
    )


def by_hand(prevalence, power):
    rarities = [share**-power for share in prevalence]
    return [len(rarities) * rarity / sum(rarities) for rarity in rarities]


def test_figures():
    """Worked on paper: 1/p = 2, 4, 10, sum 16; times 3/16."""
    weights = weighter_of([0.5, 0.25, 0.1]).weights
    assert weights.tolist() == pytest.approx([0.375, 0.75, 1.875], rel=1e-6)
    assert weights.dtype == torch.float64


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_rule_reproduces_the_figures_by_hand(power):
    shares = [0.1031, 0.0248, 0.002, 0.1774]
    given = Context(prevalence=torch.tensor(shares, dtype=torch.float64))
    weights = PrevalenceWeighter("abcd", power, given).weights.tolist()
    assert weights == pytest.approx(by_hand(shares, power), rel=1e-12)
    assert sum(weights) == pytest.approx(4)


@pytest.mark.parametrize("nothing", [0.0, math.nan])
def test_a_task_without_prevalence_gets_the_mean_of_the_others(nothing):
    weights = weighter_of([0.5, nothing, 0.25]).weights.tolist()
    # 2, 3, 4, sum 9; times 3/9
    assert weights == pytest.approx([2 / 3, 1.0, 4 / 3], rel=1e-6)


@pytest.mark.parametrize("power", [200.0, 1e6])
def test_a_high_power_does_not_overflow(power):
    assert weighter_of([0.5, 0.002]).weights.tolist() == pytest.approx([2 * 1 / 251, 2 * 250 / 251])
    assert weighter_of([0.5, 0.002], power=power).weights.tolist() == pytest.approx([0.0, 2.0])


def test_the_objective_is_the_weighted_sum_of_present_tasks():
    weighter = weighter_of([0.5, 0.25, 0.1])
    values = torch.tensor([2.0, 0.0, 4.0], requires_grad=True)
    objective = weighter(TaskLosses(values, torch.tensor([8, 0, 8])))
    objective.backward()
    assert objective.item() == pytest.approx(0.375 * 2 + 1.875 * 4)
    assert values.grad.tolist() == pytest.approx([0.375, 0.0, 1.875])


def test_the_callers_prevalence_is_not_changed_and_not_followed():
    prevalence = torch.tensor([0.5, math.nan, 0.25])
    weighter = PrevalenceWeighter(TASKS, context=Context(prevalence=prevalence))
    assert prevalence.nan_to_num(9.0).tolist() == [0.5, 9.0, 0.25]
    prevalence.fill_(0.5)
    assert weighter.weights.tolist() == pytest.approx([2 / 3, 1.0, 4 / 3])


def test_state_round_trip():
    weighter, other = weighter_of([0.5, 0.25, 0.1]), weighter_of([0.5, 0.5, 0.5])
    other.load_state_dict(weighter.state_dict())
    assert torch.equal(other.weights, weighter.weights)


def test_without_training_labels_it_is_refused():
    with pytest.raises(UsageError, match="needs the training labels to be known"):
        PrevalenceWeighter(TASKS)


@pytest.mark.parametrize("power", [-1.0, math.nan, math.inf])
def test_a_power_out_of_range_is_refused(power):
    with pytest.raises(UsageError, match="'power' of prevalence .* Found"):
        weighter_of([0.5, 0.1], power=power)


@pytest.mark.parametrize("prevalence", [[0.0, 0.0, math.nan], [math.nan] * 3])
def test_no_positive_at_all_is_refused(prevalence):
    with pytest.raises(UsageError, match="needs a positive label"):
        weighter_of(prevalence)


@pytest.mark.parametrize("prevalence", [[0.5, 0.1], [0.5, 0.1, 10.0], [0.5, 0.1, -0.1]])
def test_prevalences_that_are_no_shares_of_the_tasks_are_refused(prevalence):
    with pytest.raises(UsageError, match="for each of 3 tasks"):
        PrevalenceWeighter(TASKS, context=Context(prevalence=torch.tensor(prevalence)))

import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.uw_so import SoftOptimalUncertaintyWeighter


def losses_of(values, known=None):
    values = torch.tensor(values, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def by_hand(values, temperature):
    scores = [1 / value / temperature for value in values]
    raised = [math.exp(score - max(scores)) for score in scores]
    return [entry / sum(raised) for entry in raised]


def test_figures():
    """Worked on paper: 1/L = 1, 2; at temperature 1 / log 3 the powers are 3 and 9."""
    weighter = SoftOptimalUncertaintyWeighter("ab", temperature=1 / math.log(3))
    losses = losses_of([1.0, 0.5])
    assert weighter.weights is None
    objective = weighter(losses)
    objective.backward()
    assert weighter.weights.tolist() == pytest.approx([0.25, 0.75])
    assert objective.item() == pytest.approx(0.625)
    assert losses.values.grad.tolist() == weighter.weights.tolist()


@pytest.mark.parametrize("temperature", [0.5, 20.0, 500.0])
@pytest.mark.parametrize("values", [[0.3, 1.0, 0.2, 0.5], [0.01, 0.46, 0.002, 3.0], [1e4] * 4])
def test_the_rule_reproduces_the_figures_by_hand(values, temperature):
    weighter = SoftOptimalUncertaintyWeighter("abcd", temperature=temperature)
    weighter(losses_of(values))
    expected = by_hand(values, temperature)
    assert weighter.weights.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-30)


def test_the_default_spreads_the_weight_over_findings_from_rare_to_common():
    """1/L = 500 of a finding of 0.2 % in a batch without it; powers e, and nearly 1."""
    weighter = SoftOptimalUncertaintyWeighter("ab")
    weighter(losses_of([0.002, 0.5]))
    assert weighter.weights.tolist() == pytest.approx([0.7303, 0.2697], abs=1e-4)


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 500.0])
@pytest.mark.parametrize("tiny", [0.0, 1e-12, 1e-8])
def test_the_inverse_of_a_tiny_loss_does_not_overflow(tiny, temperature):
    weighter = SoftOptimalUncertaintyWeighter("abc", temperature=temperature)
    losses = losses_of([tiny, 1.0, 1e4])
    objective = weighter(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [1.0, 0.0, 0.0]


def test_an_absent_task_has_no_say():
    weighter = SoftOptimalUncertaintyWeighter("abc", temperature=1 / math.log(3))
    losses = losses_of([1.0, 0.0, 0.5], [8, 0, 8])
    weighter(losses).backward()
    assert weighter.weights.tolist() == pytest.approx([0.25, 0.0, 0.75])
    assert losses.values.grad.tolist() == weighter.weights.tolist()


def test_a_step_without_any_known_label_is_zero():
    weighter, losses = SoftOptimalUncertaintyWeighter("ab"), losses_of([0.0, 0.0], [0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(UsageError, match="'temperature' of uw-so should be above 0. Found"):
        SoftOptimalUncertaintyWeighter("ab", temperature=temperature)

import math

import pytest
import torch

from deepchest_cli.weighting import TaskLosses, build_weighter
from deepchest_cli.weighting.scale_invariant import ScaleInvariantWeighter


def losses_of(values, known=None):
    values = torch.tensor(values, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


@pytest.mark.parametrize(
    "values", [[0.5, 1.0, 0.2], [0.01, 0.46, 0.002], [1e-8, 1.0, 1e4], [1e4, 1e4, 1e4]]
)
def test_the_rule_reproduces_the_figures_by_hand(values):
    weighter, losses = ScaleInvariantWeighter("abc"), losses_of(values)
    assert weighter.weights is None
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(sum(math.log(value) for value in values), rel=1e-5)
    assert weighter.weights.tolist() == pytest.approx([1 / value for value in values], rel=1e-6)
    assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist())


def test_a_factor_before_a_loss_changes_no_gradient():
    weighter, gradients = ScaleInvariantWeighter("ab"), []
    for factor in (1.0, 100.0):
        network = torch.tensor([0.5, 2.0], requires_grad=True)
        losses = TaskLosses(network * torch.tensor([factor, 1.0]), torch.tensor([8, 8]))
        weighter(losses).backward()
        gradients.append(network.grad.tolist())
    assert gradients[0] == pytest.approx(gradients[1])


@pytest.mark.parametrize("absent", [0.0, 0.7])
def test_an_absent_task_has_no_say(absent):
    weighter, losses = ScaleInvariantWeighter("abc"), losses_of([0.5, absent, 0.2], [8, 0, 8])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(math.log(0.1))
    assert weighter.weights.tolist() == pytest.approx([2.0, 0.0, 5.0])
    assert losses.values.grad.tolist() == pytest.approx([2.0, 0.0, 5.0])


@pytest.mark.parametrize("tiny", [0.0, 5e-9])
def test_a_loss_below_the_smallest_has_no_gradient(tiny):
    weighter, losses = ScaleInvariantWeighter("ab"), losses_of([tiny, 0.5])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(math.log(1e-8) + math.log(0.5))
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 2.0]


def test_a_step_without_any_known_label_is_zero():
    weighter, losses = ScaleInvariantWeighter("ab"), losses_of([0.0, 0.0], [0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["scale-invariant", "gls", "imtl-l"])
def test_a_loss_that_is_nan_is_not_hidden(name):
    assert build_weighter(name, "ab")(losses_of([math.nan, 0.5])).isnan()

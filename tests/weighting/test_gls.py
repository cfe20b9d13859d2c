import math

import pytest
import torch

from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.gls import GeometricLossWeighter


def losses_of(values, known=None):
    values = torch.tensor(values, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def test_figures():
    """Worked on paper: the cube root of 0.5 * 2 * 8 is 2; 2 / (3 L) = 4/3, 1/3, 1/12."""
    weighter, losses = GeometricLossWeighter("abc"), losses_of([0.5, 2.0, 8.0])
    assert weighter.weights is None
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(2.0)
    assert weighter.weights.tolist() == pytest.approx([4 / 3, 1 / 3, 1 / 12])
    assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist())


@pytest.mark.parametrize("values", [[0.01, 0.46, 0.002, 3.0], [1e-8, 1.0, 1e4, 0.5], [1e4] * 4])
def test_the_rule_reproduces_the_figures_by_hand(values):
    mean = math.prod(values) ** (1 / 4)
    weighter, losses = GeometricLossWeighter("abcd"), losses_of(values)
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(mean, rel=1e-5)
    assert weighter.weights.tolist() == pytest.approx([mean / 4 / value for value in values], 1e-5)
    assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist(), rel=1e-5)


def test_many_small_losses_do_not_underflow():
    """The product of fourteen losses of 1e-8 is beyond single precision."""
    losses = losses_of([1e-8] * 14)
    objective = GeometricLossWeighter([f"task {i}" for i in range(14)])(losses)
    objective.backward()
    assert objective.item() == pytest.approx(1e-8, rel=1e-4)
    assert losses.values.grad.tolist() == pytest.approx([1 / 14] * 14, rel=1e-4)


def test_an_absent_task_has_no_say():
    weighter, losses = GeometricLossWeighter("abc"), losses_of([0.5, 0.0, 8.0], [8, 0, 8])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(2.0)
    assert weighter.weights.tolist() == pytest.approx([2.0, 0.0, 0.125])
    assert losses.values.grad.tolist() == pytest.approx([2.0, 0.0, 0.125])


def test_a_loss_below_the_smallest_has_no_gradient():
    weighter, losses = GeometricLossWeighter("ab"), losses_of([0.0, 1.0])
    objective = weighter(losses)
    objective.backward()
    # rounding moves the logarithm of 1e-8, which is -18, by 1e-6
    assert objective.item() == pytest.approx(1e-4, rel=1e-5)
    assert weighter.weights.tolist() == pytest.approx([0.0, 5e-5], rel=1e-5)
    assert losses.values.grad.tolist() == pytest.approx([0.0, 5e-5], rel=1e-5)


def test_a_step_without_any_known_label_is_zero():
    weighter, losses = GeometricLossWeighter("ab"), losses_of([0.0, 0.0], [0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 0.0]

import pytest
import torch

from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.inverse_loss import InverseLossWeighter


def losses_of(values, known=None):
    values = torch.tensor(values, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def by_hand(values):
    inverse = [1 / value for value in values]
    return [len(values) * entry / sum(inverse) for entry in inverse]


def test_figures():
    """Worked on paper: 1/L = 2, 1, 5, sum 8; times 3/8. Every product with L is 0.375."""
    weighter, losses = InverseLossWeighter("abc"), losses_of([0.5, 1.0, 0.2])
    assert weighter.weights is None
    objective = weighter(losses)
    objective.backward()
    assert weighter.weights.tolist() == pytest.approx([0.75, 0.375, 1.875])
    assert objective.item() == pytest.approx(1.125)
    assert losses.values.grad.tolist() == weighter.weights.tolist()


@pytest.mark.parametrize(
    "values", [[0.3, 1.0, 0.2, 0.5], [0.01, 0.46, 0.002, 3.0], [1e-8, 1.0, 1e4, 0.5]]
)
def test_the_rule_reproduces_the_figures_by_hand(values):
    weighter = InverseLossWeighter("abcd")
    weighter(losses_of(values))
    assert weighter.weights.tolist() == pytest.approx(by_hand(values), rel=1e-5)


def test_a_factor_before_all_losses_changes_no_weight():
    weighter = InverseLossWeighter("abc")
    weighter(losses_of([0.5, 1.0, 0.2]))
    before = weighter.weights
    weighter(losses_of([50.0, 100.0, 20.0]))
    assert weighter.weights.tolist() == pytest.approx(before.tolist())


def test_an_absent_task_has_no_say():
    weighter, losses = InverseLossWeighter("abc"), losses_of([0.5, 0.0, 0.2], [8, 0, 8])
    weighter(losses).backward()
    # 2, 5, sum 7; times 2/7
    assert weighter.weights.tolist() == pytest.approx([4 / 7, 0.0, 10 / 7])
    assert losses.values.grad.tolist() == weighter.weights.tolist()


def test_a_loss_of_exactly_zero_leaves_everything_finite():
    weighter, losses = InverseLossWeighter("abc"), losses_of([0.0, 1.0, 1e4])
    objective = weighter(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert weighter.weights.tolist() == pytest.approx([3.0, 3e-8, 3e-12], rel=1e-5)
    assert losses.values.grad.tolist() == weighter.weights.tolist()


def test_a_step_without_any_known_label_is_zero():
    weighter, losses = InverseLossWeighter("abc"), losses_of([0.0, 0.0, 0.0], [0, 0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 0.0, 0.0]

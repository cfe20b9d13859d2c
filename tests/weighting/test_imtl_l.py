"""Impartial losses against descent worked by hand."""

import math

import pytest
import torch

from deepchest_cli.weighting.base import TaskLosses
from deepchest_cli.weighting.imtl_l import ImpartialLossWeighter

TRACE = [[0.7, 0.1, 2.0], [0.6, 0.2, 1.5], [0.5, 0.05, 1.8], [0.9, 0.3, 0.01]]
RATE = 0.3


def losses_of(values, known=None):
    values = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [4] * len(values)))


def by_hand(trace, present):
    """Gradient descent on e^s L - s, whose derivative by s is e^s L - 1."""
    scales = [0.0] * len(present)
    found = []
    for values in trace:
        rows = list(zip(scales, values, present, strict=True))
        objective = sum(math.exp(s) * loss - s for s, loss, is_in in rows if is_in)
        found.append((objective, [math.exp(s) if is_in else 0.0 for s, _, is_in in rows]))
        scales = [s - RATE * (math.exp(s) * loss - 1) if is_in else s for s, loss, is_in in rows]
    return found


def descended(weighter, trace, known=None):
    optimizer = torch.optim.SGD(weighter.parameters(), lr=RATE)
    for values in trace:
        optimizer.zero_grad()
        losses = losses_of(values, known)
        objective = weighter(losses)
        objective.backward()
        assert losses.values.grad.tolist() == weighter.weights.tolist()
        optimizer.step()
        yield objective.item(), weighter.weights.tolist()


@pytest.mark.parametrize("known", [[4, 4, 4], [4, 0, 4], [0, 0, 0]])
def test_the_trace_is_the_one_worked_by_hand(known):
    weighter = ImpartialLossWeighter(["a", "b", "c"])
    expected = by_hand(TRACE, [count > 0 for count in known])
    for found, (objective, weights) in zip(
        descended(weighter, TRACE, known), expected, strict=True
    ):
        assert found[0] == pytest.approx(objective, rel=1e-5)
        assert found[1] == pytest.approx(weights, rel=1e-5)


def test_figures_of_the_first_step():
    """Worked on paper: at s = 0 the objective is the sum, the gradient by s is L - 1."""
    weighter = ImpartialLossWeighter(["a", "b"])
    objective = weighter(losses_of([0.25, 2.0]))
    objective.backward()
    assert objective.item() == 2.25
    assert weighter.log_weights.grad.tolist() == [-0.75, 1.0]


@pytest.mark.parametrize("loss", [0.0, 1e-8, 50.0])
def test_the_weighted_loss_comes_to_rest_at_one(loss):
    weighter = ImpartialLossWeighter(["a"])
    optimizer = torch.optim.Adam(weighter.parameters(), lr=0.1)
    for _ in range(350):
        optimizer.zero_grad()
        weighter(losses_of([loss])).backward()
        optimizer.step()
    assert weighter.log_weights.item() == pytest.approx(-math.log(max(loss, 1e-8)), abs=0.2)


def test_state_survives_in_the_middle_of_a_run(tmp_path):
    weighter = ImpartialLossWeighter(["a", "b", "c"])
    list(descended(weighter, TRACE))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = ImpartialLossWeighter(["a", "b", "c"])
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert list(descended(fresh, TRACE)) == list(descended(weighter, TRACE))

"""What every weighter promises."""

import copy

import pytest
import torch

from deepchest_cli.weighting import WEIGHTERS, Performance, TaskLosses, build_weighter

TASKS = ("a", "b", "c", "d")


@pytest.fixture(params=WEIGHTERS)
def name(request):
    return request.param


def losses_of(values, known=None):
    values = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def advanced(name):
    """A weighter that has lived through two epochs."""
    weighter = build_weighter(name, TASKS)
    for accuracies in ([0.1, 0.5, 0.9, 0.7], [0.6, 0.5, 0.9, 0.7]):
        weighter(losses_of([1.0, 0.5, 0.1, 2.0])).backward()
        values = torch.tensor(accuracies, dtype=torch.float64)
        weighter.end_epoch(Performance({"accuracy": values}, {"accuracy": values}))
    return weighter


@pytest.mark.parametrize("value", [1e-8, 1e-4, 1.0, 1e4])
def test_objective_and_gradient_are_finite(name, value):
    losses = losses_of([value, 1.0, value, 0.5])
    objective = advanced(name)(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert torch.isfinite(losses.values.grad).all()


def test_weights_are_the_derivative_of_the_objective(name):
    weighter, losses = advanced(name), losses_of([0.3, 1.0, 0.2, 0.5])
    weighter(losses).backward()
    assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist(), rel=1e-6)


def test_an_absent_task_has_no_say(name):
    weighter = advanced(name)
    losses = losses_of([0.3, 0.0, 0.2, 0.5], known=[8, 0, 8, 8])
    weighter(losses).backward()
    assert losses.values.grad[1] == 0
    assert (losses.values.grad[[0, 2, 3]] > 0).all()


def test_state_survives_a_save_and_a_load(name, tmp_path):
    weighter = advanced(name)
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = build_weighter(name, TASKS)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    losses = [0.3, 1.0, 0.2, 0.5]
    assert torch.equal(fresh(losses_of(losses)), weighter(losses_of(losses)))
    assert torch.equal(fresh.weights, weighter.weights)


def test_the_order_of_tasks_does_not_matter(name):
    order = [2, 0, 3, 1]
    accuracies = torch.tensor([0.1, 0.5, 0.9, 0.7], dtype=torch.float64)
    values = torch.tensor([0.3, 1.0, 0.2, 0.5])
    objectives = []
    for permutation in ([0, 1, 2, 3], order):
        weighter = build_weighter(name, [TASKS[i] for i in permutation])
        moved = accuracies[permutation]
        weighter.end_epoch(Performance({"accuracy": moved}, {"accuracy": moved}))
        objectives.append(weighter(losses_of(values[permutation].tolist())))
    assert objectives[0].item() == pytest.approx(objectives[1].item(), rel=1e-6)


def test_copies_are_independent(name):
    weighter = advanced(name)
    twin = copy.deepcopy(weighter)
    before = weighter.weights.tolist()
    values = torch.tensor([0.1, 0.9, 0.9, 0.9], dtype=torch.float64)
    twin.end_epoch(Performance({"accuracy": values}, {"accuracy": values}))
    assert weighter.weights.tolist() == before

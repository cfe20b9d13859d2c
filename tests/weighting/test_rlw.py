import copy
import math

import pytest
import torch

from deepchest_cli.weighting import Context, TaskLosses
from deepchest_cli.weighting.rlw import RandomLossWeighter


def losses_of(values, known=None):
    values = torch.tensor(values, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def weights_of(weighter, steps):
    drawn = []
    for _ in range(steps):
        weighter(losses_of([1.0, 2.0, 3.0]))
        drawn.append(weighter.weights.tolist())
    return drawn


def by_hand(seed, steps):
    """The softmax, on plain lists, of what a generator of that seed draws."""
    generator, trace = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        drawn = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
        raised = [math.exp(number) for number in drawn]
        trace.append([number / sum(raised) for number in raised])
    return trace


@pytest.mark.parametrize("seed", [0, 7])
def test_the_rule_reproduces_the_trace_by_hand(seed):
    drawn = weights_of(RandomLossWeighter("abc", context=Context(seed=seed)), 5)
    for weights, expected in zip(drawn, by_hand(seed, 5), strict=True):
        assert weights == pytest.approx(expected, rel=1e-5)
        assert sum(weights) == pytest.approx(1)


def test_the_objective_is_the_weighted_sum():
    weighter, losses = RandomLossWeighter("abc"), losses_of([1.0, 2.0, 3.0])
    assert weighter.weights is None
    objective = weighter(losses)
    objective.backward()
    a, b, c = weighter.weights.tolist()
    assert objective.item() == pytest.approx(a + 2 * b + 3 * c)
    assert losses.values.grad.tolist() == weighter.weights.tolist()


def test_every_step_draws_anew_and_every_seed_differently():
    drawn = weights_of(RandomLossWeighter("abc"), 3)
    assert drawn[0] != drawn[1] != drawn[2]
    assert weights_of(RandomLossWeighter("abc", context=Context(seed=1)), 1)[0] != drawn[0]


def test_the_global_generator_is_neither_used_nor_moved():
    before = torch.get_rng_state()
    drawn = weights_of(RandomLossWeighter("abc"), 2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert weights_of(RandomLossWeighter("abc"), 2) == drawn


def test_a_resumed_run_draws_what_the_other_would_have_drawn(tmp_path):
    weighter = RandomLossWeighter("abc")
    weights_of(weighter, 3)
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    resumed = RandomLossWeighter("abc", context=Context(seed=99))
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert weights_of(resumed, 3) == weights_of(weighter, 3)


def test_a_saved_state_does_not_follow_the_generator():
    weighter = RandomLossWeighter("abc")
    state = weighter.state_dict()
    expected = weights_of(weighter, 2)
    weighter.load_state_dict(state)
    assert weights_of(weighter, 2) == expected


def test_a_copy_draws_on_by_itself():
    weighter = RandomLossWeighter("abc")
    weights_of(weighter, 1)
    twin = copy.deepcopy(weighter)
    assert weights_of(twin, 2) == weights_of(weighter, 2)


def test_an_absent_task_has_no_say_and_costs_no_weight():
    weighter, losses = RandomLossWeighter("abc"), losses_of([1.0, 0.0, 3.0], [8, 0, 8])
    weighter(losses).backward()
    (a, _, c), (kept, gone, other) = by_hand(0, 1)[0], weighter.weights.tolist()
    assert gone == losses.values.grad[1] == 0
    assert [kept, other] == pytest.approx([a / (a + c), c / (a + c)], rel=1e-5)


def test_a_step_without_any_known_label_is_zero():
    weighter, losses = RandomLossWeighter("ab"), losses_of([0.0, 0.0], [0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == weighter.weights.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("value", [0.0, 1e-8, 1e4])
def test_any_size_of_loss_is_finite(value):
    losses = losses_of([value, 1.0, value])
    objective = RandomLossWeighter("abc")(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert torch.isfinite(losses.values.grad).all()

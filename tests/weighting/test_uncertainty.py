"""Learned uncertainties against descent worked by hand, in both forms."""

import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import TaskLosses
from deepchest_cli.weighting.uncertainty import UncertaintyWeighter

TRACE = [[0.7, 0.1, 2.0], [0.6, 0.2, 1.5], [0.5, 0.05, 1.8], [0.9, 0.0, 0.01]]
RATE = 0.3
FACTORS = {"classification": (1, 0.5), "authors": (2, 1)}


def losses_of(values, known=None):
    values = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [4] * len(values)))


def by_hand(form, trace, present=None):
    """Gradient descent on e^(-a s) L + b s, whose derivative by s is -a e^(-a s) L + b."""
    exponent, regularizer = FACTORS[form]
    scales = [0.0] * len(trace[0])
    found = []
    for values in trace:
        counts = present or [True] * len(values)
        weights = [math.exp(-exponent * s) for s in scales]
        objective = sum(
            weight * max(loss, 1e-8) + regularizer * s
            for weight, loss, s, is_in in zip(weights, values, scales, counts, strict=True)
            if is_in
        )
        found.append((objective, weights))
        scales = [
            s - RATE * (regularizer - exponent * weight * max(loss, 1e-8)) if is_in else s
            for weight, loss, s, is_in in zip(weights, values, scales, counts, strict=True)
        ]
    return found


def descended(weighter, trace, known=None):
    optimizer = torch.optim.SGD(weighter.parameters(), lr=RATE)
    for values in trace:
        optimizer.zero_grad()
        objective = weighter(losses_of(values, known))
        objective.backward()
        optimizer.step()
        yield objective.item(), weighter.weights.tolist()


@pytest.mark.parametrize("form", FACTORS)
def test_the_trace_is_the_one_worked_by_hand(form):
    weighter = UncertaintyWeighter(["a", "b", "c"], form=form)
    trace = TRACE[:3]
    for (objective, weights), expected in zip(
        descended(weighter, trace), by_hand(form, trace), strict=True
    ):
        assert objective == pytest.approx(expected[0], rel=1e-5)
        assert weights == pytest.approx(expected[1], rel=1e-5)


def test_figures_of_the_first_step():
    """Worked on paper: at s = 0 the objective is the sum, the gradient by s is 1/2 - L."""
    weighter = UncertaintyWeighter(["a", "b"])
    objective = weighter(losses_of([0.25, 2.0]))
    objective.backward()
    assert objective.item() == 2.25
    assert weighter.log_scales.grad.tolist() == [0.25, -1.5]
    assert weighter.weights.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("form", FACTORS)
def test_an_absent_task_has_no_say_and_does_not_move(form):
    weighter = UncertaintyWeighter(["a", "b", "c"], form=form)
    trace = [[values[0], 0.0, values[2]] for values in TRACE]
    expected = by_hand(form, trace, [True, False, True])
    for (objective, weights), (by_hand_objective, others) in zip(
        descended(weighter, trace, [4, 0, 4]), expected, strict=True
    ):
        assert objective == pytest.approx(by_hand_objective, rel=1e-5)
        assert weights == pytest.approx([others[0], 0.0, others[2]], rel=1e-5)
    assert weighter.log_scales[1] == 0


def test_without_any_task_the_objective_is_zero():
    weighter, losses = UncertaintyWeighter(["a", "b"], initial=1.0), losses_of([0.0, 0.0], [0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("form", FACTORS)
@pytest.mark.parametrize("loss", [0.0, 1e-8, 50.0])
def test_the_scale_of_a_constant_loss_comes_to_rest_at_its_optimum(form, loss):
    """The best sigma^2 is 2 L, where e^(-s) L is 1/2."""
    weighter = UncertaintyWeighter(["a"], form=form)
    optimizer = torch.optim.Adam(weighter.parameters(), lr=0.1)
    for _ in range(350):
        optimizer.zero_grad()
        weighter(losses_of([loss])).backward()
        optimizer.step()
    log_variance = FACTORS[form][0] * weighter.log_scales.item()
    assert log_variance == pytest.approx(math.log(2 * max(loss, 1e-8)), abs=0.2)


def test_state_survives_in_the_middle_of_a_run(tmp_path):
    weighter = UncertaintyWeighter(["a", "b", "c"])
    list(descended(weighter, TRACE))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = UncertaintyWeighter(["a", "b", "c"])
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert list(descended(fresh, TRACE)) == list(descended(weighter, TRACE))


def test_bad_options_are_refused():
    with pytest.raises(UsageError, match="Did you mean 'classification'"):
        UncertaintyWeighter(["a"], form="clasification")
    for value in (-21.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'initial' of uncertainty should be from -20 to 20"):
            UncertaintyWeighter(["a"], initial=value)

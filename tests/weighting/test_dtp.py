"""Dynamic task prioritization against its rule on plain lists."""

import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Performance, TaskLosses
from deepchest_cli.weighting.dtp import DynamicTaskPriority

TASKS = ["a", "b", "c"]
TRACE = [[0.2, 0.8, 0.5], [0.3, 0.7, 0.5], [0.9, 0.75, 0.6], [0.1, 1.0, 0.0]]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def performance(values, metric="accuracy"):
    return Performance({metric: tensor(values)})


def by_hand(table, gamma, smoothing):
    averages = list(table[0])
    trace = []
    for number, values in enumerate(table):
        if number:
            averages = [
                smoothing * k + (1 - smoothing) * average
                for k, average in zip(values, averages, strict=True)
            ]
        kept = [min(max(average, 1e-6), 1 - 1e-6) for average in averages]
        trace.append([-((1 - k) ** gamma) * math.log(k) for k in kept])
    return trace


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_the_trace_is_the_one_worked_by_hand(gamma, smoothing):
    weighter = DynamicTaskPriority(TASKS, gamma=gamma, smoothing=smoothing)
    assert weighter.weights.tolist() == [1.0, 1.0, 1.0]
    for values, expected in zip(TRACE, by_hand(TRACE, gamma, smoothing), strict=True):
        assert weighter.end_epoch(performance(values)) == []
        assert weighter.weights.tolist() == pytest.approx(expected, rel=1e-12)


def test_figures_on_paper():
    """-(1 - 1/2) log 1/2 is log(2) / 2; then kbar = (3/4 + 1/2) / 2 = 5/8."""
    weighter = DynamicTaskPriority(["a"])
    weighter.end_epoch(performance([0.5]))
    assert weighter.weights.item() == pytest.approx(math.log(2) / 2)
    weighter.end_epoch(performance([0.75]))
    assert weighter.weights.item() == pytest.approx(3 / 8 * math.log(8 / 5))


def test_the_objective_is_the_weighted_sum_of_what_is_present():
    weighter = DynamicTaskPriority(TASKS)
    weighter.end_epoch(performance(TRACE[0]))
    values = torch.tensor([1.0, 0.0, 2.0], requires_grad=True)
    objective = weighter(TaskLosses(values, torch.tensor([3, 0, 3])))
    objective.backward()
    weights = weighter.weights.tolist()
    assert objective.item() == pytest.approx(weights[0] + 2 * weights[2])
    assert values.grad.tolist() == pytest.approx([weights[0], 0.0, weights[2]])


@pytest.mark.parametrize("metric", ["average-precision", "average_precision"])
def test_training_figures_come_before_those_of_validation(metric):
    weighter = DynamicTaskPriority(["a"], metric=metric)
    other = {"average_precision": tensor([0.9])}
    weighter.end_epoch(Performance({"accuracy": tensor([0.5])}, other))
    assert weighter.weights.item() == pytest.approx(-0.1 * math.log(0.9))
    weighter = DynamicTaskPriority(["a"], metric=metric)
    weighter.end_epoch(Performance({"average_precision": tensor([0.5])}, other))
    assert weighter.weights.item() == pytest.approx(math.log(2) / 2)


def test_an_undefined_figure_keeps_its_weight_and_is_said_once():
    weighter = DynamicTaskPriority(TASKS)
    nan = math.nan
    notes = weighter.end_epoch(performance([0.5, nan, 0.5]))
    assert notes == ["The accuracy of b is undefined: its weight stays."]
    half = math.log(2) / 2
    assert weighter.weights.tolist() == pytest.approx([half, 1.0, half])
    assert weighter.end_epoch(performance([nan, nan, 0.5])) == [
        "The accuracy of a is undefined: its weight stays."
    ]
    assert weighter.weights.tolist() == pytest.approx([half, 1.0, half])
    assert weighter.end_epoch(performance([0.75, 0.75, nan])) != []
    later = 3 / 8 * math.log(8 / 5)
    assert weighter.weights.tolist() == pytest.approx([later, -0.25 * math.log(0.75), half])


@pytest.mark.parametrize("gamma", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_weights_stay_finite_at_the_ends(gamma, value):
    weighter = DynamicTaskPriority(["a"], gamma=gamma)
    weighter.end_epoch(performance([value]))
    assert 0 < weighter.weights.item() < 14


def test_state_survives_in_the_middle_of_a_run(tmp_path):
    weighter, fresh = DynamicTaskPriority(TASKS), DynamicTaskPriority(TASKS)
    weighter.end_epoch(performance([0.2, math.nan, 0.5]))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(fresh.weights, weighter.weights)
    for one in (weighter, fresh):
        assert one.end_epoch(performance([0.4, math.nan, 0.5])) == []
    assert torch.equal(fresh.weights, weighter.weights)


def test_the_callers_objects_are_not_changed():
    values = tensor([0.2, math.nan, 1.0])
    metrics = {"accuracy": values}
    weighter = DynamicTaskPriority(TASKS)
    before = weighter.weights
    weighter.end_epoch(Performance(metrics))
    weighter.end_epoch(performance([0.9, 0.9, 0.9]))
    assert values[[0, 2]].tolist() == [0.2, 1.0]
    assert before.tolist() == [1.0, 1.0, 1.0]


def test_bad_options_are_refused():
    for gamma in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'gamma' of dtp should be 0 or above. Found"):
            DynamicTaskPriority(TASKS, gamma=gamma)
    for smoothing in (0.0, 1.1, math.nan):
        with pytest.raises(UsageError, match="'smoothing' of dtp should be above 0 and at most 1"):
            DynamicTaskPriority(TASKS, smoothing=smoothing)
    with pytest.raises(UsageError, match="Did you mean 'auroc'"):
        DynamicTaskPriority(TASKS, metric="auroq")


def test_a_metric_that_is_not_measured_is_said():
    weighter = DynamicTaskPriority(TASKS, metric="f1")
    with pytest.raises(UsageError, match="needs the 'f1' of each epoch") as error:
        weighter.end_epoch(performance([0.1, 0.2, 0.3]))
    assert error.value.hint == "Given: accuracy."

"""The rule against traces worked by hand: plain arithmetic on lists, nothing of the product."""

import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import DeepChestWeighter, Performance, TaskLosses

EPOCHS = 20
TASKS = {
    # two tasks apart: one climbs to the cap and stays, the other decays for ever
    "apart": [[0.2, 0.8] for _ in range(EPOCHS)],
    # the middle task is exactly at the mean: not below it, so it decays
    "at the mean": [[0.25, 0.5, 0.75] for _ in range(EPOCHS)],
    # roles change every third epoch: raise after decay, decay after the cap
    "crossing": [
        [0.9, 0.1, 0.5, 0.6] if (epoch // 3) % 2 else [0.1, 0.9, 0.6, 0.5]
        for epoch in range(EPOCHS)
    ],
    # accuracies of an always-negative classifier on NIH, drifting
    "nih": [
        [0.8969 + epoch / 1000, 0.9752, 0.8812, 0.8226 + epoch / 500, 0.9484, 0.9435, 0.998]
        for epoch in range(EPOCHS)
    ],
}


def by_hand(table):
    """One epoch after the other: below the mean times 1.1, at most 1.5; else divided by 1.05."""
    weights = [1.0] * len(table[0])
    trace = []
    for accuracies in table:
        mean = math.fsum(accuracies) / len(accuracies)
        weights = [
            min(weight * 1.1, 1.5) if accuracy < mean else weight / 1.05
            for weight, accuracy in zip(weights, accuracies, strict=True)
        ]
        trace.append(weights)
    return trace


def performance(accuracies):
    return Performance(training={"accuracy": torch.tensor(accuracies, dtype=torch.float64)})


@pytest.mark.parametrize("name", TASKS)
def test_the_rule_reproduces_the_trace_exactly(name):
    table = TASKS[name]
    weighter = DeepChestWeighter([f"task {i}" for i in range(len(table[0]))])
    for accuracies, expected in zip(table, by_hand(table), strict=True):
        weighter.end_epoch(performance(accuracies))
        assert weighter.weights.tolist() == expected


def test_figures_of_the_first_epochs():
    """Worked on paper: 1.1, 1.21, 1.331, 1.4641, then the cap; 1/1.05, 1/1.05^2, ..."""
    weighter = DeepChestWeighter(["low", "high"])
    low, high = [], []
    for _ in range(7):
        weighter.end_epoch(performance([0.2, 0.8]))
        low.append(weighter.weights[0].item())
        high.append(weighter.weights[1].item())
    assert low == pytest.approx([1.1, 1.21, 1.331, 1.4641, 1.5, 1.5, 1.5], abs=1e-12)
    assert high[:3] == pytest.approx([0.9523809523809523, 0.9070294784580498, 0.863837598531476])
    assert high[6] == pytest.approx(1 / 1.05**7)


@pytest.mark.parametrize("value", [0.9, 0.1, 1 / 3, 0.9483])
@pytest.mark.parametrize("tasks", [2, 3, 7, 14, 49])
def test_equal_accuracies_all_decay(value, tasks):
    weighter = DeepChestWeighter([f"task {i}" for i in range(tasks)])
    weighter.end_epoch(performance([value] * tasks))
    assert weighter.weights.tolist() == [1 / 1.05] * tasks


def test_the_callers_objects_are_not_changed():
    accuracies = torch.tensor([0.2, 0.8], dtype=torch.float64)
    metrics = {"accuracy": accuracies}
    tasks = ["a", "b"]
    weighter = DeepChestWeighter(tasks)
    before = weighter.weights
    weighter.end_epoch(Performance(training=metrics))
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    weighter(TaskLosses(losses, torch.tensor([3, 3]))).backward()
    assert accuracies.tolist() == [0.2, 0.8]
    assert list(metrics) == ["accuracy"]
    assert tasks == ["a", "b"]
    assert before.tolist() == [1.0, 1.0]
    assert losses.tolist() == [1.0, 2.0]


def test_an_undefined_accuracy_keeps_its_weight_and_is_said():
    weighter = DeepChestWeighter(["a", "b", "c"])
    notes = weighter.end_epoch(performance([0.2, float("nan"), 0.8]))
    assert weighter.weights.tolist() == [1.1, 1.0, 1 / 1.05]
    assert len(notes) == 1
    assert "b" in notes[0]


def test_every_constant_is_a_parameter():
    weighter = DeepChestWeighter(["a", "b"], raise_factor=2, cap=3, decay=4, initial=2)
    weighter.end_epoch(performance([0.1, 0.9]))
    assert weighter.weights.tolist() == [3.0, 0.5]


@pytest.mark.parametrize(
    "option",
    [{"raise_factor": 1.0}, {"cap": 0.0}, {"decay": 0.9}, {"initial": -1.0}, {"cap": math.inf}],
)
def test_constants_out_of_range_are_refused(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        DeepChestWeighter(["a"], **option)

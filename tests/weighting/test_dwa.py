import math
from itertools import pairwise

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import EpochResults, Performance, TaskLosses, build_weighter
from deepchest_cli.weighting.dwa import DynamicWeightAverage

EPOCHS = [
    [0.6, 0.2, 0.05],
    [0.5, 0.2, 0.06],
    [0.45, 0.1, 0.04],
    [0.44, 0.12, 0.039],
    [0.5, 0.01, 0.0385],
]


def performance(losses):
    return Performance(training={"loss": torch.tensor(losses, dtype=torch.float64)})


def by_hand(epochs, temperature):
    """The weights used in each epoch: ones twice, then the softmax of the last two's ratios."""
    trace = [[1.0] * len(epochs[0])] * 2
    for before, latest in pairwise(epochs):
        raised = [
            math.exp(new / old / temperature) for new, old in zip(latest, before, strict=True)
        ]
        trace.append([len(raised) * number / sum(raised) for number in raised])
    return trace


@pytest.mark.parametrize("temperature", [0.1, 2.0, 50.0])
def test_the_rule_reproduces_the_trace(temperature):
    weighter = DynamicWeightAverage("abc", temperature=temperature)
    trace = [weighter.weights.tolist()]
    for losses in EPOCHS:
        assert weighter.end_epoch(performance(losses)) == []
        trace.append(weighter.weights.tolist())
    assert trace[:2] == [[1.0] * 3] * 2
    for weights, expected in zip(trace, by_hand(EPOCHS, temperature), strict=True):
        assert weights == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "options"), [("dwa", {}), ("stch", {"warmup_epochs": "1"})])
def test_an_epoch_without_results_is_an_error(name, options):
    with pytest.raises(UsageError, match=f"'{name}' needs the 'loss' of each epoch"):
        build_weighter(name, "ab", options).end_epoch(EpochResults().performance())


def test_figures():
    """Worked on paper: ratios 1 and 0.5; at temperature 0.5 / log 3 the powers are 9 and 3."""
    weighter = DynamicWeightAverage("ab", temperature=0.5 / math.log(3))
    for losses in ([1.0, 1.0], [1.0, 0.5]):
        weighter.end_epoch(performance(losses))
    assert weighter.weights.tolist() == pytest.approx([1.5, 0.5])


def test_the_temperature_of_the_paper_is_the_default():
    assert DynamicWeightAverage("ab").temperature == 2


def test_the_objective_is_the_weighted_sum_of_present_tasks():
    weighter = DynamicWeightAverage("abc")
    for epoch in EPOCHS[:3]:
        weighter.end_epoch(performance(epoch))
    weights = by_hand(EPOCHS[:3], 2.0)[-1]
    values = torch.tensor([0.5, 0.0, 2.0], requires_grad=True)
    objective = weighter(TaskLosses(values, torch.tensor([8, 0, 8])))
    objective.backward()
    assert objective.item() == pytest.approx(weights[0] * 0.5 + weights[2] * 2)
    assert values.grad.tolist() == pytest.approx([weights[0], 0.0, weights[2]])


def test_an_unknown_loss_keeps_the_ratio_at_1_and_is_said():
    nothing = math.nan
    weighter = DynamicWeightAverage("abc")
    table = [[0.6, 0.2, 0.05], [0.3, nothing, 0.05], [0.3, 0.1, 0.1], [0.3, 0.05, 0.1]]
    # what each epoch makes of the ratios
    expected = [[1.0, 1.0, 1.0], [0.5, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 0.5, 1.0]]
    for losses, ratios in zip(table, expected, strict=True):
        notes = weighter.end_epoch(performance(losses))
        raised = [math.exp(ratio / 2) for ratio in ratios]
        assert weighter.weights.tolist() == pytest.approx([3 * x / sum(raised) for x in raised])
        assert len(notes) == (nothing in losses)
        assert all("No known label of b " in note for note in notes)


def test_a_ratio_to_a_loss_of_zero_is_undefined_too():
    weighter = DynamicWeightAverage("abc")
    for losses in ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0]):
        assert weighter.end_epoch(performance(losses)) == []
    assert weighter.weights.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("losses", [[0.0, 1.0, 1.0], [1e4, 1e-8, 0.0], [math.inf, 1.0, 1.0]])
def test_weights_stay_finite_whatever_the_losses(losses):
    weighter = DynamicWeightAverage("abc")
    for epoch in ([1e-8, 1e4, 0.0], losses, [1e4, 1e-8, 1.0], losses):
        weighter.end_epoch(performance(epoch))
        assert torch.isfinite(weighter.weights).all()
        assert weighter.weights.sum().item() == pytest.approx(3)


def test_a_resumed_run_goes_on_as_the_other_would_have(tmp_path):
    weighter = DynamicWeightAverage("abc")
    for number, losses in enumerate(EPOCHS):
        torch.save(weighter.state_dict(), tmp_path / f"{number}.pt")
        resumed = DynamicWeightAverage("abc")
        resumed.load_state_dict(torch.load(tmp_path / f"{number}.pt", weights_only=True))
        assert torch.equal(resumed.weights, weighter.weights)
        for each in (weighter, resumed):
            each.end_epoch(performance(losses))
        assert torch.equal(resumed.weights, weighter.weights)


def test_the_callers_objects_are_not_changed():
    weighter = DynamicWeightAverage("abc")
    losses = [torch.tensor(epoch, dtype=torch.float64) for epoch in EPOCHS]
    for epoch in losses:
        weighter.end_epoch(Performance(training={"loss": epoch}))
    assert [epoch.tolist() for epoch in losses] == EPOCHS
    before = weighter.weights
    losses[-1].fill_(9.0)  # nor followed: the last epoch's losses are the weighter's own
    weighter.end_epoch(performance(EPOCHS[-1]))
    assert weighter.weights.tolist() == [1.0] * 3
    assert before.tolist() == pytest.approx(by_hand(EPOCHS, 2.0)[-1])


def test_the_order_of_tasks_does_not_matter():
    straight, reverse = DynamicWeightAverage("abc"), DynamicWeightAverage("cba")
    for losses in EPOCHS:
        straight.end_epoch(performance(losses))
        reverse.end_epoch(performance(losses[::-1]))
    assert reverse.weights.tolist()[::-1] == pytest.approx(straight.weights.tolist(), rel=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(UsageError, match="'temperature' of dwa should be above 0. Found"):
        DynamicWeightAverage("ab", temperature=temperature)

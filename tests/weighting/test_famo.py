"""FAMO against several steps worked by hand, Adam written out."""

import copy
import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import TaskLosses
from deepchest_cli.weighting.famo import FamoWeighter

TASKS = ["a", "b", "c"]
# losses before and after each step's update
STEPS = [
    ([0.7, 0.1, 2.0], [0.6, 0.11, 1.9]),
    ([0.6, 0.2, 1.5], [0.5, 0.15, 1.51]),
    ([0.5, 0.05, 1.8], [0.51, 0.04, 1.7]),
    ([0.9, 0.3, 0.01], [0.8, 0.3, 0.02]),
    ([0.4, 0.2, 0.1], [0.1, 0.2, 0.1]),
]
ALL = [True, True, True]


def losses_of(values, present=ALL, dtype=torch.float64):
    values = torch.tensor(values, dtype=dtype, requires_grad=True)
    return TaskLosses(values, torch.tensor([4 if is_in else 0 for is_in in present]))


def shares_of(scores, present):
    powers = [math.exp(v) if is_in else 0.0 for v, is_in in zip(scores, present, strict=True)]
    return [power / sum(powers) for power in powers]


def by_hand(steps, rate, decay, presence):
    """Return objective and weights of each step: the rule and Adam on plain lists."""
    tasks = range(len(steps[0][0]))
    v, mean, square = ([0.0] * len(tasks) for _ in range(3))
    found = []
    for number, ((before, after), present) in enumerate(zip(steps, presence, strict=True), start=1):
        z = shares_of(v, present)
        shifted = [loss + 1e-8 for loss in before]
        c = 1 / sum(z[i] / shifted[i] for i in tasks)
        objective = c * sum(z[i] * math.log(shifted[i]) for i in tasks)
        found.append((objective, [c * z[i] / shifted[i] for i in tasks]))
        delta = [math.log(shifted[i] / (after[i] + 1e-8)) for i in tasks]
        # row i of the softmax's Jacobian is z_i (1[i = j] - z_j)
        gradient = [
            sum(z[i] * ((i == j) - z[j]) * delta[j] for j in tasks) + decay * v[i] for i in tasks
        ]
        for i in tasks:
            mean[i] = 0.9 * mean[i] + 0.1 * gradient[i]
            square[i] = 0.999 * square[i] + 0.001 * gradient[i] ** 2
            corrected = math.sqrt(square[i] / (1 - 0.999**number))
            v[i] -= rate * mean[i] / (1 - 0.9**number) / (corrected + 1e-8)
    return found


def stepped(weighter, steps, presence=None, dtype=torch.float64):
    for (before, after), present in zip(steps, presence or [ALL] * len(steps), strict=True):
        losses = losses_of(before, present, dtype)
        objective = weighter(losses)
        objective.backward()
        assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist(), rel=1e-6)
        weighter.after_step(lambda a=after, p=present: losses_of(a, p, dtype))
        yield objective.item(), weighter.weights.tolist()


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.5, "decay": 0.1}, {"decay": 0.0}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_trace_is_the_one_worked_by_hand(options, dtype):
    weighter = FamoWeighter(TASKS, **options)
    rate, decay = options.get("learning_rate", 0.025), options.get("decay", 1e-3)
    expected = by_hand(STEPS, rate, decay, [ALL] * len(STEPS))
    accuracy = 1e-9 if dtype == torch.float64 else 1e-4
    for found, (objective, weights) in zip(
        stepped(weighter, STEPS, dtype=dtype), expected, strict=True
    ):
        assert found[0] == pytest.approx(objective, rel=accuracy)
        assert found[1] == pytest.approx(weights, rel=accuracy)
        assert sum(found[1]) == pytest.approx(1)


def test_absent_tasks_have_no_say():
    steps = [([0.0 if i == n % 3 else b for i, b in enumerate(before)], after)
             for n, (before, after) in enumerate(STEPS)]  # fmt: skip
    presence = [[i != n % 3 for i in range(3)] for n in range(len(STEPS))]
    weighter = FamoWeighter(TASKS, learning_rate=0.5)
    expected = by_hand(steps, 0.5, 1e-3, presence)
    for n, (found, (objective, weights)) in enumerate(
        zip(stepped(weighter, steps, presence), expected, strict=True)
    ):
        assert found[0] == pytest.approx(objective, rel=1e-9)
        assert found[1] == pytest.approx(weights, rel=1e-9)
        assert found[1][n % 3] == 0


def test_a_task_that_was_never_present_is_never_moved():
    weighter = FamoWeighter(TASKS)
    list(stepped(weighter, STEPS, [[True, False, True]] * len(STEPS)))
    assert weighter.scores[1] == 0
    assert (weighter.scores[[0, 2]] != 0).all()


def test_the_first_weights_are_inverse_losses():
    """Worked on paper: z = 1/3 each, so the weights are as 1/L: 2, 4, 1 parts of 7."""
    weighter = FamoWeighter(TASKS)
    objective = weighter(losses_of([0.5, 0.25, 1.0]))
    assert weighter.weights.tolist() == pytest.approx([2 / 7, 4 / 7, 1 / 7])
    assert objective.item() == pytest.approx(-3 * math.log(2) / 7)


def test_a_task_that_improves_less_gains():
    weighter = FamoWeighter(["fast", "slow"])
    list(stepped(weighter, [([1.0, 1.0], [0.5, 0.99])] * 3, [[True, True]] * 3))
    assert weighter.scores[1] > 0 > weighter.scores[0]


def test_the_models_optimizer_is_given_nothing():
    assert list(FamoWeighter(TASKS).parameters()) == []


def test_the_second_look_happens_once_a_step():
    weighter, looks = FamoWeighter(TASKS), []

    def recompute():
        looks.append(1)
        return losses_of([0.1, 0.2, 0.3])

    weighter.after_step(recompute)
    weighter(losses_of([0.2, 0.3, 0.4]))
    weighter.after_step(recompute)
    after_one = weighter.scores.tolist()
    weighter.after_step(recompute)
    assert len(looks) == 1
    assert weighter.scores.tolist() == after_one


@pytest.mark.parametrize("before", [[0.0, 1.0, 1e4], [1e-8, 1e-8, 1e-8], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("after", [[0.0, 1.0, 1e4], [1e4, 0.0, 0.0]])
def test_extremes_are_finite(before, after):
    weighter = FamoWeighter(TASKS)
    for objective, weights in stepped(weighter, [(before, after)] * 3, dtype=torch.float32):
        assert math.isfinite(objective)
        assert all(map(math.isfinite, weights))
    assert torch.isfinite(weighter.scores).all()


def test_without_any_task_nothing_happens():
    weighter, nobody = FamoWeighter(TASKS), [False, False, False]
    losses = losses_of([0.0, 0.0, 0.0], nobody)
    weighter(losses).backward()
    weighter.after_step(lambda: losses_of([0.0, 0.0, 0.0], nobody))
    assert losses.values.grad.tolist() == [0.0, 0.0, 0.0]
    assert weighter.scores.tolist() == [0.0, 0.0, 0.0]


def test_state_survives_in_the_middle_of_a_run(tmp_path):
    weighter = FamoWeighter(TASKS)
    list(stepped(weighter, STEPS[:3]))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = FamoWeighter(TASKS)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert list(stepped(fresh, STEPS)) == list(stepped(weighter, STEPS))


def test_a_state_handed_over_in_memory_stays_as_it_is():
    weighter, fresh = FamoWeighter(TASKS), FamoWeighter(TASKS)
    list(stepped(weighter, STEPS))
    state = copy.deepcopy(weighter.state_dict())
    kept = copy.deepcopy(state)
    fresh.load_state_dict(state)
    list(stepped(fresh, STEPS))
    for name in ("scores", "adam.mean", "adam.square", "adam.steps"):
        assert torch.equal(state[name], kept[name])


@pytest.mark.parametrize("change", [copy.deepcopy, lambda w: w.float(), lambda w: w.cpu()])
def test_copies_and_conversions_go_on_learning(change):
    weighter = FamoWeighter(TASKS)
    list(stepped(weighter, STEPS[:3]))
    changed = change(copy.deepcopy(weighter))
    original = list(stepped(weighter, STEPS))
    for found, expected in zip(stepped(changed, STEPS), original, strict=True):
        assert found[1] == pytest.approx(expected[1], rel=1e-5)
    assert changed.scores.tolist() == pytest.approx(weighter.scores.tolist(), rel=1e-5)


def test_the_order_of_tasks_does_not_matter():
    order = [2, 0, 1]
    moved = [tuple([values[i] for i in order] for values in step) for step in STEPS]
    one, other = FamoWeighter(TASKS), FamoWeighter([TASKS[i] for i in order])
    for (objective, weights), (same, permuted) in zip(
        stepped(one, STEPS), stepped(other, moved), strict=True
    ):
        assert same == pytest.approx(objective, rel=1e-9)
        assert permuted == pytest.approx([weights[i] for i in order], rel=1e-9)


def test_bad_options_are_refused():
    for rate in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'learning_rate' of famo should be above 0. Found"):
            FamoWeighter(TASKS, learning_rate=rate)
    for decay in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'decay' of famo should be 0 or above. Found"):
            FamoWeighter(TASKS, decay=decay)

"""What every weighter of losses promises."""

import copy
import itertools

import pytest
import torch
from tests_support import weighter_options

from deepchest_cli.weighting import WEIGHTERS, Context, Performance, TaskLosses, build_weighter
from deepchest_cli.weighting.composite import INCOMPATIBLE

TASKS = ("a", "b", "c", "d")
LOSS = [name for name, info in WEIGHTERS.items() if info.kind == "loss"]
NAMES = [*LOSS, *(f"deepchest+{name}" for name in LOSS if name not in INCOMPATIBLE)]
EPOCHS = ([0.1, 0.5, 0.9, 0.7], [0.6, 0.5, 0.9, 0.7])
METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "auroc",
    "average_precision",
    "normalized_cross_entropy",
)
PLAIN = [0.3, 1.0, 0.2, 0.5]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def build(name, order=(0, 1, 2, 3), seed=0):
    options = weighter_options(name, TASKS)  # by name: the same whatever the order
    prevalence = torch.tensor([0.3, 0.1, 0.02, 0.1], dtype=torch.float64)[list(order)]
    context = Context(seed, prevalence, epochs=20)
    return build_weighter(name, [TASKS[i] for i in order], options, context)


def losses_of(values, known=None):
    values = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [8] * len(values)))


def performance_of(scores, losses):
    figures = {metric: torch.tensor(scores, dtype=torch.float64) for metric in METRICS}
    figures["loss"] = torch.tensor(losses, dtype=torch.float64)
    return Performance(figures, dict(figures))


def live(weighter, steps=2, order=(0, 1, 2, 3)):
    """Let a weighter live through two epochs of a run, its parameters learning."""
    learned = list(weighter.parameters())
    optimizer = torch.optim.SGD(learned, lr=0.1) if learned else None
    chance = torch.Generator().manual_seed(3)
    for scores in EPOCHS:
        for step in range(steps):
            losses = torch.tensor([1.0, 0.5, 0.1, 2.0])[list(order)] / (step + 1)
            logits = torch.randn(8, 4, generator=chance)[:, list(order)]
            labels = (torch.rand(8, 4, generator=chance) < 0.5).float()[:, list(order)]
            weighter.observe(logits, labels, torch.ones(8, 4, dtype=torch.bool))
            if optimizer:
                optimizer.zero_grad()
            weighter(losses_of(losses.tolist())).backward()
            if optimizer:
                optimizer.step()
            weighter.after_step(lambda: losses_of((losses * 0.9).tolist()))  # noqa: B023
        moved = [scores[i] for i in order]
        weighter.end_epoch(performance_of(moved, [1 - score for score in moved]))
    return weighter


@pytest.mark.parametrize("value", [0.0, 1e-8, 1e-4, 1.0, 1e4])
def test_objective_and_gradient_are_finite(name, value):
    losses = losses_of([value, 1.0, value, 0.5])
    weighter = live(build(name))
    objective = weighter(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert torch.isfinite(losses.values.grad).all()
    assert torch.isfinite(weighter.weights).all()


@pytest.mark.parametrize("value", [0.0, 1e-8, 1e4])
def test_a_weighter_survives_what_it_has_seen(name, value):
    """A converged or an exploding loss leaves nothing behind that is not finite."""
    weighter = build(name)
    for losses in ([value, 1.0, value, 0.5], PLAIN):
        weighter(losses_of(losses)).backward()
        weighter.after_step(lambda: losses_of([value, 1.0, 0.3, value]))
        weighter.end_epoch(performance_of([1.0, 0.0, 0.5, 0.5], [value, 1.0, 0.3, value]))
    assert torch.isfinite(weighter(losses_of(PLAIN)))
    assert torch.isfinite(weighter.weights).all()


def test_weights_are_the_derivative_of_the_objective(name):
    weighter, losses = live(build(name)), losses_of(PLAIN)
    weighter(losses).backward()
    assert losses.values.grad.tolist() == pytest.approx(weighter.weights.tolist(), rel=1e-5)


def test_an_absent_task_has_no_say(name):
    weighter = live(build(name))
    losses = losses_of([0.3, 0.0, 0.2, 0.5], known=[8, 0, 8, 8])
    objective = weighter(losses)
    objective.backward()
    assert losses.values.grad[1] == 0
    assert (losses.values.grad[[0, 2, 3]] >= 0).all()
    assert (losses.values.grad > 0).any()
    assert torch.isfinite(objective)


def test_a_batch_without_any_known_label_changes_nothing(name):
    weighter = live(build(name))
    losses = losses_of([0.0] * 4, known=[0] * 4)
    objective = weighter(losses)
    objective.backward()
    weighter.after_step(lambda: losses_of([0.0] * 4, known=[0] * 4))
    assert torch.isfinite(objective)
    assert losses.values.grad.tolist() == [0] * 4
    assert torch.isfinite(weighter(losses_of(PLAIN)))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_state_survives_a_save_and_a_load_in_the_middle_of_a_run(name, tmp_path, steps):
    weighter = live(build(name), steps)
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = build(name, seed=5)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (live(weighter, steps), live(fresh, steps)):
        one(losses_of(PLAIN))
    assert torch.equal(fresh.weights, weighter.weights)
    pairs = itertools.zip_longest(fresh.state_dict().items(), weighter.state_dict().items())
    for (key, value), (other, expected) in pairs:
        assert key == other
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, expected), key


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("rlw")])
def test_the_order_of_tasks_does_not_matter(name):
    order = (2, 0, 3, 1)
    weights, objectives = [], []
    for permutation in ((0, 1, 2, 3), order):
        weighter = live(build(name, permutation), order=permutation)
        objectives.append(weighter(losses_of([PLAIN[i] for i in permutation])).item())
        weights.append(weighter.weights)
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-5)
    assert weights[1].tolist() == pytest.approx(weights[0][list(order)].tolist(), rel=1e-5)


def test_the_callers_objects_are_not_changed(name):
    weighter, tasks = build(name), list(TASKS)
    losses, performance = losses_of(PLAIN), performance_of(*EPOCHS)
    table = torch.randn(8, 4)
    known = torch.ones(8, 4, dtype=torch.bool)
    tables = [table, (table > 0).float(), known]
    seen = [value.clone() for value in tables]
    weighter.observe(*tables)
    weighter(losses).backward()
    weighter.after_step(lambda: losses)
    weighter.end_epoch(performance)
    assert losses.values.tolist() == pytest.approx(PLAIN)
    assert performance.training["accuracy"].tolist() == EPOCHS[0]
    assert performance.validation["loss"].tolist() == EPOCHS[1]
    assert all(torch.equal(a, b) for a, b in zip(tables, seen, strict=True))
    assert tasks == list(TASKS)


def test_copies_are_independent(name):
    weighter = live(build(name))
    weighter(losses_of(PLAIN))
    before = weighter.weights.tolist()
    live(copy.deepcopy(weighter))
    assert weighter.weights.tolist() == before


def test_the_global_random_state_is_left_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    weighter = build(name)
    weighter(losses_of(PLAIN))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_losses_of_any_precision_are_taken(name, kind):
    values = torch.tensor(PLAIN, dtype=kind, requires_grad=True)
    objective = live(build(name))(TaskLosses(values, torch.tensor([8] * 4)))
    objective.backward()
    assert torch.isfinite(objective)
    assert values.grad.dtype == kind


@pytest.mark.parametrize("name", [name for name in NAMES if build(name).additive])
def test_additive_objectives_are_the_sum_of_those_of_the_parts(name):
    weighter = live(build(name))
    whole = weighter(losses_of(PLAIN)).item()
    parts = [weighter(losses_of([value * share for value in PLAIN])) for share in (0.25, 0.75)]
    assert sum(parts).item() == pytest.approx(whole, rel=1e-6)

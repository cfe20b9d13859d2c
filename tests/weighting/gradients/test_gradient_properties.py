"""What every weighter of task gradients promises."""

import copy
import itertools

import pytest
import torch
from gradients_problems import LOSSES, NAMES, TASKS, build, conflicting, losses_of
from torch import nn

from deepchest_cli.weighting import Performance, TaskLosses
from deepchest_cli.weighting.gradients.base import gramian_of

RANDOM = ("pcgrad", "gradvac", "graddrop")
WITHOUT_WEIGHTS = ("graddrop",)
DIAGONAL = torch.diag(torch.tensor([0.5, 0.1, 2.0, 1.0]))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def performance_of(scores):
    figures = {m: torch.tensor(scores, dtype=torch.float64) for m in ("accuracy", "loss")}
    return Performance(figures, dict(figures))


def live(weighter, epochs=2, steps=2, order=(0, 1, 2, 3)):
    """Let a weighter live through some epochs of a run."""
    order = list(order)
    for epoch, step in itertools.product(range(epochs), range(steps)):
        losses = torch.tensor(LOSSES)[order] / (step + 1)
        weighter.observe(torch.zeros(8, 4), torch.zeros(8, 4), torch.ones(8, 4, dtype=torch.bool))
        weighter(losses_of(losses.tolist()), conflicting(seed=10 * epoch + step)[order])
        weighter.after_step(lambda: losses_of(LOSSES))
        if step == steps - 1:
            weighter.end_epoch(performance_of([[0.1, 0.5, 0.9, 0.7][i] for i in order]))
    return weighter


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1.0, 1e4])
def test_the_direction_is_finite(name, scale):
    weighter = live(build(name))
    direction = weighter(losses_of([scale * loss for loss in LOSSES]), conflicting(scale))
    assert direction.shape == (60,)
    assert torch.isfinite(direction).all()
    assert direction.any()
    if weighter.weights is not None:
        assert torch.isfinite(weighter.weights).all()


def test_the_direction_is_the_weighted_sum_of_the_gradients(name):
    weighter, jacobian = live(build(name)), conflicting()
    previous = weighter.weights
    direction = weighter(losses_of(LOSSES), jacobian)
    weights = previous if weighter.uses_previous_weights else weighter.weights
    if name.endswith(WITHOUT_WEIGHTS):
        assert weights is None
        return
    expected = (weights.float() @ jacobian).tolist()
    assert direction.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-5, 1e3])
def test_the_unit_of_the_losses_does_not_matter(name, scale):
    """Gradients as short as those of features give the same direction as longer ones.

    Nash-MTL's and FairGrad's have a length of their own, and the former's only a largest one.
    """
    directions = [
        build(name)(losses_of([f * loss for loss in LOSSES]), conflicting(f)).double()
        for f in (1.0, scale)
    ]
    units = [direction / direction.norm() for direction in directions]
    assert units[1].tolist() == pytest.approx(units[0].tolist(), abs=2e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(RANDOM)])
def test_the_order_of_tasks_does_not_matter(name):
    order = [2, 0, 3, 1]
    directions = []
    for permutation in ([0, 1, 2, 3], order):
        tasks = [TASKS[i] for i in permutation]
        weighter = live(build(name, tasks), order=permutation)
        losses = losses_of([LOSSES[i] for i in permutation])
        directions.append(weighter(losses, conflicting()[permutation]))
    assert directions[1].tolist() == pytest.approx(directions[0].tolist(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("missing", ["absent", "without gradient", "of hardly any gradient"])
def test_a_task_without_gradient_holds_up_nobody(name, missing):
    """MGDA and CAGrad by themselves come to a standstill: there is no way to lower its loss."""
    jacobian, losses = conflicting(), losses_of(LOSSES)
    jacobian[1] *= 1e-9 if missing == "of hardly any gradient" else 0
    if missing == "absent":
        losses = losses_of([0.3, 0.0, 0.2, 0.5], [8, 0, 8, 8])
    with_it = build(name)(losses, jacobian)
    others = [0, 2, 3]
    alone = build(name, [TASKS[i] for i in others])
    without_it = alone(losses_of([LOSSES[i] for i in others]), jacobian[others])
    assert with_it.norm() > 0.01
    if name.endswith("excess-mtl"):  # its share stays with it
        without_it *= 3 / 4
    elif name.endswith(RANDOM):  # the order of others is drawn for another number of tasks
        return
    assert with_it.tolist() == pytest.approx(without_it.tolist(), rel=1e-4, abs=1e-5)


def test_a_batch_without_any_known_label_moves_nothing(name):
    weighter = live(build(name))
    direction = weighter(losses_of([0.0] * 4, [0] * 4), torch.zeros(4, 60))
    assert direction.tolist() == [0] * 60
    assert torch.isfinite(weighter(losses_of(LOSSES), conflicting())).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_passed_on_and_not_stored(name, value):
    broken = conflicting()
    broken[2, 5] = value
    one, other = (live(build(name)) for _ in range(2))
    assert not torch.isfinite(one(losses_of(LOSSES), broken)).all()
    assert one.state_dict().keys() == other.state_dict().keys()
    following = [weighter(losses_of(LOSSES), conflicting()) for weighter in (one, other)]
    assert torch.isfinite(following[0]).all()
    assert torch.equal(*following)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_state_survives_a_save_and_a_load_in_the_middle_of_a_run(name, tmp_path, steps):
    weighter = live(build(name), steps=steps)
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = build(name, seed=5)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    directions = [
        live(one, steps=steps)(losses_of(LOSSES), conflicting()) for one in (weighter, fresh)
    ]
    assert torch.equal(*directions)
    again = live(build(name), epochs=1)(losses_of(LOSSES), conflicting())
    has_state = any(word in name for word in ("gradnorm", "gradvac", "excess", "deepchest"))
    assert not has_state or not torch.equal(again, directions[0])


def test_a_state_is_taken_up_as_a_copy(name):
    weighter = live(build(name))
    state = copy.deepcopy(weighter.state_dict())
    fresh = build(name)
    fresh.load_state_dict(state)
    live(fresh)
    assert _same(state, weighter.state_dict())


def _same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(-1.0), other.nan_to_num(-1.0))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(v, other[k]) for k, v in one.items())
    return one == other


def test_the_callers_objects_are_not_changed(name):
    jacobian, losses = conflicting().requires_grad_(), losses_of(LOSSES)
    weighter = build(name)
    for _ in range(2):
        direction = weighter(losses, jacobian)
    assert torch.equal(jacobian, conflicting())
    assert losses.values.tolist() == pytest.approx(LOSSES)
    assert not direction.requires_grad


def test_copies_are_independent(name):
    weighter = live(build(name))
    state = copy.deepcopy(weighter.state_dict())
    live(copy.deepcopy(weighter))
    assert _same(weighter.state_dict(), state)


def test_the_global_random_state_is_left_alone(name):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    live(build(name))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(RANDOM)])
def test_what_is_drawn_follows_from_the_seed(name):
    # many conflicts, so that an order shows
    jacobian = torch.randn(8, 12, generator=torch.Generator().manual_seed(2))
    tasks = [str(number) for number in range(8)]
    one, same, other = (
        build(name, tasks, seed=s)(losses_of([0.5] * 8), jacobian) for s in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_of_any_precision_are_taken(name, kind):
    direction = build(name)(losses_of(LOSSES), conflicting().to(kind))
    assert direction.dtype == kind
    assert torch.isfinite(direction).all()


def test_one_task_alone_goes_its_own_way(name):
    jacobian = conflicting()[:1]
    weighter = build(name, ["a"])
    direction = weighter(losses_of([0.5]), jacobian)
    assert nn.functional.cosine_similarity(direction, jacobian[0], dim=0) == pytest.approx(1)


def test_heads_learn_from_their_own_losses(name):
    weighter = live(build(name))
    own = weighter.head_weights
    if name.startswith("deepchest+"):
        assert own.tolist() == weighter.deepchest.weights.tolist() != [1] * 4
    elif name == "gradnorm":
        assert own.tolist() == weighter.weights.tolist() != [1] * 4
    else:
        assert own.tolist() == [1] * 4


def test_deepchest_above_a_method_weighs_the_gradients():
    above, plain = live(build("deepchest+pcgrad")), build("pcgrad")
    weights = above.deepchest.weights.float()
    direction = above(losses_of(LOSSES), DIAGONAL)
    assert direction.tolist() == pytest.approx((weights * DIAGONAL.diagonal()).tolist())
    expected = plain(losses_of(LOSSES), weights[:, None] * DIAGONAL)
    assert torch.equal(direction, expected)
    assert above.weights.tolist() == pytest.approx(weights.tolist())


def test_losses_that_come_with_a_graph_are_taken(name):
    values = torch.tensor(LOSSES, requires_grad=True)
    direction = build(name)(TaskLosses(values, torch.tensor([8] * 4)), conflicting())
    assert not direction.requires_grad


@pytest.mark.parametrize("columns", [100, 2**18, 2**18 + 1, 2**18 + 2**13 + 77])
def test_products_of_gradients_of_any_size(columns):
    jacobian = torch.randn(3, columns, generator=torch.Generator().manual_seed(0))
    jacobian *= torch.tensor([1.0, 1e-4, 30.0])[:, None]
    exact = jacobian.double() @ jacobian.double().T
    lengths = exact.diagonal().sqrt()
    difference = (gramian_of(jacobian) - exact) / lengths / lengths[:, None]
    assert difference.abs().max() < 1e-7

"""What the docstrings of the methods guarantee, over hundreds of draws of gradients."""

import itertools

import pytest
import torch
from gradients_problems import KINDS, SPREADS, build, drawn, losses_of
from scipy.optimize import nnls

from deepchest_cli.weighting.gradients.solvers import projected, shortest_average, vanishes

TASKS = (2, 3, 5, 14, 14, 14, 30, 56)
HARMLESS = ("mgda", "upgrad", "dualproj")
INDEPENDENT = [kind for kind in KINDS if kind != "dependent"]


def draws(kind, tasks=TASKS, spreads=SPREADS):
    """Yield gradients (T, K) of a kind, of all numbers of tasks and spreads of norms."""
    for spread, (seed, number) in itertools.product(spreads, enumerate(tasks)):
        yield drawn(number, spread, kind, 100 * seed + number)


def followed(name, jacobian, **options):
    """Return a new weighter, its direction (K,), and the gradients that took part, in double."""
    tasks = [str(number) for number in range(len(jacobian))]
    weighter = build(name, tasks, **options)
    direction = weighter(losses_of([0.5] * len(tasks)), jacobian)
    norms = jacobian.double().norm(dim=1)
    active = norms > 1.01e-7 * norms.max()
    return weighter, direction.double(), jacobian.double()[active]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HARMLESS)
def test_no_loss_is_raised(name, kind):
    for jacobian in draws(kind):
        _, direction, rows = followed(name, jacobian)
        least = direction.square().sum() if name == "mgda" else 0.0
        tolerance = 1e-6 * rows.norm(dim=1) * direction.norm()
        assert (rows @ direction >= least - tolerance).all()


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("nearness", [1e-2, 1e-4])
def test_what_is_left_of_gradients_that_cancel_harms_no_task(name, nearness):
    """In single precision the sum would lead elsewhere than its weights say."""
    chance = torch.Generator().manual_seed(0)
    one, *others = torch.randn(15, 3000, generator=chance)
    signs = torch.tensor([1.0, -1.0]).repeat(7)[:, None]
    jacobian = signs * one + nearness * torch.stack(others)
    _, direction, rows = followed(name, jacobian)
    assert direction.norm() > 1e-3 * nearness * rows.norm(dim=1).mean()
    assert (rows @ direction >= -1e-6 * rows.norm(dim=1) * direction.norm()).all()


@pytest.mark.parametrize("name", HARMLESS)
def test_gradients_of_a_whole_model_are_added_up_in_their_own_precision(name):
    jacobian = drawn(4, 100.0, "opposed", 1, numbers=2**18 + 5)
    weighter, direction, rows = followed(name, jacobian)
    lengths = rows.norm(dim=1)
    added = weighter.weights.abs() @ lengths
    assert (rows @ direction >= -1e-6 * lengths * added).all()


@pytest.mark.parametrize("name", HARMLESS)
def test_where_no_direction_is_good_none_is_taken(name):
    """Of noise that rounding leaves an optimizer such as Adam would make whole steps."""
    one, other = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    jacobian = torch.stack([one, other, -2 * one, -(one + other) / 3])
    weighter, direction, _ = followed(name, jacobian)
    assert direction.tolist() == [0.0] * 300
    assert weighter.failures == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_average_is_optimal(kind):
    for jacobian in draws(kind):
        gramian, lengths = products_of(jacobian)
        weights = shortest_average(gramian)
        assert (weights >= 0).all()
        assert weights.sum().item() == pytest.approx(1)
        # no move toward any gradient shortens it
        added = weights @ lengths
        excess = (gramian @ weights - weights @ gramian @ weights) / lengths / added
        assert excess.min() >= -1e-10
        assert (weights * lengths / added * excess).max() <= 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_optimal(kind):
    for jacobian in draws(kind, tasks=(2, 5, 14, 30)):
        gramian, lengths = products_of(jacobian)
        given = torch.eye(len(gramian), dtype=torch.float64)
        found = projected(gramian, given)
        something = found.any(dim=1)  # else the projection is zero
        found, given = found[something], given[something]
        added = (found.abs() @ lengths)[:, None]
        along, moved = found @ gramian / lengths / added, (found - given) * lengths / added
        assert (moved >= -1e-12).all()
        assert (along >= -1e-12).all()
        assert (moved * along <= 1e-12).all()  # it moves along what would be in conflict alone


@pytest.mark.parametrize("kind", KINDS)
def test_projections_are_as_long_as_those_found_from_the_gradients_themselves(kind):
    """Gradients that are opposed but for rounding leave a little to chance, in both."""
    tolerance = 0.03 if kind == "dependent" else 1e-6
    for jacobian in draws(kind, tasks=(2, 5, 14)):
        rows = jacobian.double()[jacobian.any(dim=1)]
        gramian, lengths = products_of(jacobian)
        units = (rows / rows.norm(dim=1, keepdim=True)).T.numpy()
        mean = lengths[None] / len(lengths)
        projection = projected(gramian, mean / lengths)[0]
        length = (projection @ gramian @ projection).sqrt().item()
        expected = nnls(units, -units @ mean[0].numpy())[1]
        assert length == pytest.approx(expected, abs=tolerance * mean.sum().item())


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_two_gradients_that_are_opposed_but_for_rounding_do_not_stop_the_others(name):
    """What is good for both is what changes neither; rounding would have a wedge of its own."""
    for seed in range(20):
        chance = torch.Generator().manual_seed(seed)
        one, other = torch.randn(2, 200, generator=chance, dtype=torch.float64)
        one -= other * (seed / 10 - 1) * (one @ other) / (other @ other)
        jacobian = torch.stack([one, one / 3, other, -0.7 * other]).float()
        _, direction, rows = followed(name, jacobian)
        unit = other / other.norm()
        expected = (rows[0] + rows[1]) / 4 - unit * ((rows[0] + rows[1]) / 4 @ unit)
        assert (direction - expected).norm() < 0.1 * expected.norm()


def products_of(jacobian):
    """Return the products (m, m), of trace one, and norms (m,) of gradients that are not zero."""
    rows = jacobian.double()[jacobian.any(dim=1)]
    gramian = rows @ rows.T
    gramian /= gramian.trace()
    return gramian, gramian.diagonal().sqrt()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("c", [0.4, 0.9, 1.5])
def test_no_direction_in_reach_is_better_for_the_worst_off(kind, c):
    """No d in reach has a least g_i . d above g_w . g_0 + c |g_0| |g_w|, g_w any average."""
    for jacobian in draws(kind, tasks=(2, 5, 14, 30)):
        weighter, _, rows = followed("cagrad", jacobian, c=c)
        weights = weighter.weights[jacobian.any(dim=1)]
        direction, mean = weights @ rows, rows.mean(dim=0)
        reach, move = c * mean.norm(), direction - mean
        assert move.norm() <= reach * (1 + 1e-6)
        shares = weights - 1 / len(rows)
        if not shares.any():  # the mean: no direction but none at all is good for all
            assert c > 1
            continue
        average = shares @ rows / shares.sum()
        bound = average @ mean + reach * average.norm()
        gramian, _ = products_of(jacobian)
        if vanishes(gramian, shortest_average(gramian)):  # an average of nothing
            bound = bound.clamp(max=0)
        along = rows @ direction
        tolerance = 1e-6 * rows[along.argmin()].norm() * direction.norm()
        assert along.min() >= bound - tolerance


@pytest.mark.parametrize("kind", INDEPENDENT)
@pytest.mark.parametrize("name", ["imtl-g", "config"])
def test_independent_gradients_are_followed_equally_far(name, kind):
    failures = 0
    for jacobian in draws(kind):
        weighter, direction, rows = followed(name, jacobian)
        if weighter.failures:
            failures += 1
            continue
        along = rows @ direction / rows.norm(dim=1) / direction.norm()
        assert along.min() > 0
        assert along.tolist() == pytest.approx([along[0].item()] * len(rows), abs=1e-6)
    assert failures <= (3 if name == "imtl-g" else 0)  # of 32, where it would lead uphill


@pytest.mark.parametrize("kind", INDEPENDENT)
@pytest.mark.parametrize(("name", "power"), [("nash-mtl", 1.0), ("fairgrad", 0.5)])
def test_independent_gradients_are_followed_fairly(name, power, kind):
    options = {} if name == "nash-mtl" else {"alpha": 2.0}
    for jacobian in draws(kind):
        weighter, direction, rows = followed(name, jacobian, **options)
        weights = weighter.weights[weighter.weights > 0]
        gains = rows @ (weights @ rows)
        shares = gains * weights**power
        assert weighter.failures == 0
        assert (shares / shares[0]).tolist() == pytest.approx([1] * len(rows), rel=1e-6)
        assert (rows @ direction > 0).all()


@pytest.mark.parametrize("name", ["nash-mtl", "fairgrad"])
def test_where_no_direction_is_good_for_all_no_weights_are_fair(name):
    one, other = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    weighter, *_ = followed(name, torch.stack([one, other, -2 * one]))
    assert weighter.failures == 1
    assert len(set(weighter.weights.tolist())) == 1

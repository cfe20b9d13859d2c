"""Each method on problems small enough to be worked out on paper."""

import math

import pytest
import torch
from gradients_problems import build, conflicting, direction_of, losses_of, rows

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.gradients.solvers import fair_weights

ROOT = math.sqrt(0.5)
RIGHT, UP = [1.0, 0.0], [0.0, 1.0]
NEAR, FAR = [1.0, 0.0], [-0.5, 1.0]  # in conflict: their product is -0.5


def test_pcgrad_takes_the_conflicting_part_out_of_both():
    # g1 + 0.5 / 1.25 g2 = (0.8, 0.4);   g2 + 0.5 / 1 g1 = (0, 1)
    assert direction_of("pcgrad", rows(NEAR, FAR)) == pytest.approx([0.8, 1.4])


def test_pcgrad_is_the_sum_where_nothing_conflicts():
    assert direction_of("pcgrad", rows([1, 0], [1, 1], [0, 2])) == pytest.approx([2, 3])


def test_pcgrad_goes_through_the_others_in_a_random_order():
    # three at 120 degrees; with one more pull the order in which conflicts are taken out shows
    jacobian = rows([1, 0, 0], [-0.5, 0.9, 0.1], [-0.6, -0.8, 0.3])
    found = {tuple(round(x, 5) for x in direction_of("pcgrad", jacobian, seed=s)) for s in range(9)}
    assert len(found) > 1


def test_mgda_goes_to_the_shortest_point_between_two_gradients():
    # of all t g1 + (1 - t) g2 the one at right angles to g1 - g2: t = g2.(g2 - g1) / |g2 - g1|^2
    t = (1.25 + 0.5) / 3.25
    expected = [t * 1.0 - (1 - t) * 0.5, 1 - t]
    assert direction_of("mgda", rows(NEAR, FAR)) == pytest.approx(expected, rel=1e-5)


def test_mgda_is_the_shorter_gradient_where_that_lies_before_the_longer():
    assert direction_of("mgda", rows([1, 0], [3, 1])) == pytest.approx([1, 0])


def test_mgda_of_orthogonal_gradients_weighs_by_the_inverse_squares():
    # t g1 + (1 - t) g2 with lengths 1 and 2: t = 4 / 5
    assert direction_of("mgda", rows([1, 0], [0, 2])) == pytest.approx([0.8, 0.4], rel=1e-5)


def test_cagrad_moves_from_the_mean_toward_the_worst_off():
    # g0 = (1, 0.5); task 2 is worst off whatever d in the ball: g_w = g2 = (0, 1)
    c = 0.4
    expected = [1.0, 0.5 + c * math.hypot(1, 0.5)]
    assert direction_of("cagrad", rows([2, 0], [0, 1]), c=c) == pytest.approx(expected, rel=1e-4)


def test_cagrad_with_c_of_zero_is_the_mean():
    jacobian = conflicting()
    mean = jacobian.mean(dim=0).tolist()
    assert direction_of("cagrad", jacobian, c=0) == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_cagrad_is_best_for_the_worst_off_in_its_ball():
    jacobian, c = conflicting().double(), 0.5
    mean = jacobian.mean(dim=0)
    direction = torch.tensor(direction_of("cagrad", jacobian, c=c), dtype=torch.float64)
    assert (direction - mean).norm() == pytest.approx(c * mean.norm().item(), rel=1e-4)
    worst = (jacobian @ direction).min()
    chance = torch.Generator().manual_seed(1)
    for _ in range(300):
        # a move of the direction on the ball, within the gradients' own span
        moved = direction - mean + 0.1 * torch.randn(4, generator=chance).double() @ jacobian
        other = mean + c * mean.norm() * moved / moved.norm()
        assert (jacobian @ other).min() <= worst + 1e-6


def test_upgrad_projects_each_gradient_onto_what_harms_no_task():
    # g1 projected: (0.8, 0.4); g2 projected: (0, 1); the mean of both
    assert direction_of("upgrad", rows(NEAR, FAR)) == pytest.approx([0.4, 0.7], rel=1e-4)


def test_upgrad_is_the_mean_where_nothing_conflicts():
    expected = pytest.approx([2 / 3, 1], rel=1e-4)
    assert direction_of("upgrad", rows([1, 0], [1, 1], [0, 2])) == expected


@pytest.mark.parametrize("name", ["upgrad", "dualproj"])
def test_what_is_projected_harms_no_task(name):
    jacobian = conflicting()
    assert (jacobian @ jacobian.mean(dim=0)).min() < 0  # the mean does
    along = jacobian @ torch.tensor(direction_of(name, jacobian))
    assert along.min() >= -1e-5 * along.abs().max()


def test_dualproj_projects_the_mean():
    # the mean (1, 0.25) goes against g2 = (-1, 0.5): less its part along it, of -0.7 g2
    jacobian = rows([3, 0], [-1, 0.5])
    expected = [1 - 0.875 / 1.25, 0.25 + 0.4375 / 1.25]
    assert direction_of("dualproj", jacobian) == pytest.approx(expected, rel=1e-4)


def test_imtl_g_never_leads_uphill():
    """A short gradient between two longer ones would have a direction against all three."""
    elevation, turn = math.radians(10), math.radians(20)
    jacobian = rows(
        [math.cos(turn), math.sin(turn), 0],
        [0.5 * math.cos(elevation), 0, 0.5 * math.sin(elevation)],
        [math.cos(turn), -math.sin(turn), 0],
    )
    found = direction_of("imtl-g", jacobian)
    # the mean's second number is zero, but for the rounding of numbers of about one
    assert found == pytest.approx(jacobian.mean(dim=0).tolist(), abs=1e-6)
    assert (jacobian @ torch.tensor(found) > 0.1).all()


def test_imtl_g_has_the_same_projection_on_every_gradient():
    jacobian = conflicting()
    units = jacobian / jacobian.norm(dim=1, keepdim=True)
    along = units @ torch.tensor(direction_of("imtl-g", jacobian))
    assert along.tolist() == pytest.approx([along[0].item()] * 4, rel=1e-3)
    # and its weights add up to one: orthogonal gradients of lengths 1 and 3 weigh 3 to 1
    assert direction_of("imtl-g", rows([1, 0], [0, 3])) == pytest.approx([0.75, 0.75])


def test_aligned_mtl_makes_gradients_as_long_as_the_shortest():
    # orthogonal already: both become unit vectors times 1, and their mean is the direction
    assert direction_of("aligned-mtl", rows([1, 0], [0, 3])) == pytest.approx([0.5, 0.5])
    longer = direction_of("aligned-mtl", rows([1, 0], [0, 3]), scale="rmse")
    assert longer == pytest.approx([0.5 * math.sqrt(5)] * 2)  # the mean of 1 and 9


HARMFUL = rows([1, 0, 0], [-3, 1, 0], [0.1, 0, 0.01], dtype=torch.float64)  # when added up


def test_nash_mtl_weighs_by_the_inverse_of_what_each_gains():
    assert (HARMFUL @ HARMFUL.sum(dim=0)).min() < 0  # where other searches stay at equal weights
    weighter = build("nash-mtl", ["a", "b", "c"], max_norm=0)
    weighter(losses_of([0.5] * 3), HARMFUL)
    assert (weighter.weights > 0).all()
    products = weighter.weights * (HARMFUL @ (weighter.weights @ HARMFUL))
    gramian = HARMFUL @ HARMFUL.T
    # 1 for gradients whose products have the norm 1, as in the authors' code
    assert (products / gramian.norm()).tolist() == pytest.approx([1] * 3, rel=1e-6)


def test_nash_mtl_shortens_its_direction():
    long = direction_of("nash-mtl", rows([30, 0], [0, 10]))
    assert long == pytest.approx([ROOT, ROOT], rel=1e-5)
    short = direction_of("nash-mtl", rows([30, 0], [0, 10]), max_norm=0.1)
    assert short == pytest.approx([0.1 * ROOT] * 2, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_fairgrad_solves_its_equation(alpha, scale):
    weighter = build("fairgrad", ["a", "b", "c"], alpha=alpha)
    weighter(losses_of([0.5] * 3), scale * HARMFUL)
    weights = weighter.weights
    gains = scale * HARMFUL @ (weights @ (scale * HARMFUL))
    assert gains.tolist() == pytest.approx((weights ** (-1 / alpha)).tolist(), rel=1e-6)


def test_fairgrad_with_alpha_of_one_goes_where_nash_mtl_goes():
    fair, bargain = (torch.tensor(direction_of(n, HARMFUL)) for n in ("fairgrad", "nash-mtl"))
    assert (fair / fair.norm()).tolist() == pytest.approx((bargain / bargain.norm()).tolist())


@pytest.mark.parametrize("tasks", [2, 14, 56])
@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 10.0])
def test_fair_weights_are_found_for_gradients_of_any_lengths(tasks, alpha):
    chance = torch.Generator().manual_seed(tasks)
    jacobian = torch.randn(tasks, 80, generator=chance, dtype=torch.float64)
    jacobian -= 0.9 * jacobian.mean(dim=0)
    jacobian *= torch.logspace(0, -4, tasks, dtype=torch.float64)[:, None]
    gramian = jacobian @ jacobian.T
    weights = fair_weights(gramian / gramian.trace(), alpha)
    sides = gramian @ weights / gramian.trace() * weights ** (1 / alpha)
    assert sides.tolist() == pytest.approx([1] * tasks, rel=1e-6)


def test_there_are_no_fair_weights_where_no_direction_is_good_for_all():
    opposed = rows([1, 0, 0], [-1, 0.5, 0], [0, -0.5, 0], dtype=torch.float64)
    with pytest.raises((ArithmeticError, RuntimeError)):
        fair_weights(opposed @ opposed.T, 1.0)


def test_config_is_at_the_same_angle_to_every_gradient():
    jacobian = rows([1, 0, 0], [0.5, 2, 0], [-0.5, 0.3, 1])
    direction = torch.tensor(direction_of("config", jacobian))
    units = jacobian / jacobian.norm(dim=1, keepdim=True)
    along = units @ direction
    assert along.tolist() == pytest.approx([along[0].item()] * 3, rel=1e-4)
    # as long as the gradients reach along it, all together
    unit = direction / direction.norm()
    assert direction.norm().item() == pytest.approx((jacobian @ unit).sum().item(), rel=1e-4)


def test_config_takes_gradients_that_depend_on_each_other():
    # the third is the sum of the others: a least-squares answer, the same in any other basis
    jacobian = rows([1, 0, 0], [0, 1, 0], [1, 1, 0])
    units = jacobian / jacobian.norm(dim=1, keepdim=True)
    best = torch.linalg.pinv(units) @ torch.ones(3)
    expected = (jacobian @ best).sum() / best.norm() ** 2 * best
    assert direction_of("config", jacobian) == pytest.approx(expected.tolist(), abs=1e-4)


def test_gradvac_turns_a_gradient_until_the_expected_cosine():
    jacobian = rows(RIGHT, UP)
    weighter = build("gradvac", ["a", "b"], beta=1.0)
    assert weighter(losses_of([1, 1]), rows(RIGHT, RIGHT)).tolist() == pytest.approx([2, 0])
    # the cosine 1 is expected from now on, and no turn reaches it; 0.6 is what the next step shows
    weighter = build("gradvac", ["a", "b"], beta=1.0)
    weighter(losses_of([1, 1]), rows(RIGHT, [0.6, 0.8]))
    direction = weighter(losses_of([1, 1]), jacobian)
    # each g_i + a g_j with cosine 0.6 to g_j: a = 0.6 / 0.8
    assert direction.tolist() == pytest.approx([1.75, 1.75], rel=1e-5)


def test_gradvac_that_expects_nothing_is_pcgrad():
    jacobian = rows(NEAR, FAR)
    assert direction_of("gradvac", jacobian, beta=0) == pytest.approx([0.8, 1.4])


def test_graddrop_keeps_one_sign_of_each_number():
    jacobian = rows([3.0] * 400 + [1.0] * 3, [-1.0] * 400 + [2.0] * 3)
    direction = direction_of("graddrop", jacobian)
    assert set(direction[:400]) == {3.0, -1.0}
    # above zero with the chance (1 + 2 / 4) / 2
    assert direction[:400].count(3.0) / 400 == pytest.approx(0.75, abs=0.08)
    assert direction[400:] == [3.0] * 3  # all of one sign: nothing is dropped


def test_graddrop_leaks_what_it_drops():
    direction = direction_of("graddrop", rows([3.0] * 50, [-1.0] * 50), leak=0.5)
    assert set(direction) == {3.0 - 0.5, -1.0 + 1.5}
    everything = direction_of("graddrop", rows([3.0], [-1.0]), leak=1)
    assert everything == [2.0]


def test_excess_mtl_by_hand():
    weighter = build("excess-mtl", ["a", "b"], step=0.5)
    first, second = rows([2.0, 0.0], [0.0, 4.0]), rows([2.0, 0.0], [0.0, 1.0])
    # at the first step every risk over itself is 1: the shares stay
    assert weighter(losses_of([1, 1]), first).tolist() == pytest.approx([1, 2], rel=1e-4)
    # a: 4 / sqrt(8) over 4 / sqrt(4), = 1 / sqrt(2);   b: 1 / sqrt(17) over 16 / sqrt(16)
    powers = [math.exp(0.5 * ROOT), math.exp(0.5 / (4 * math.sqrt(17)))]
    shares = [power / sum(powers) for power in powers]
    direction = weighter(losses_of([1, 1]), second)
    assert direction.tolist() == pytest.approx([2 * shares[0], shares[1]], rel=1e-4)
    assert weighter.weights.tolist() == pytest.approx(shares, rel=1e-4)


def test_excess_mtl_knows_a_task_from_its_own_first_step():
    """A task that comes late begins at its own risk; the others are not overrun by it."""
    weighter = build("excess-mtl", ["a", "b", "c"], step=0.5)
    jacobian = rows([2.0, 0.0], [0.0, 1.0], [0.0, 0.0])
    for _ in range(3):
        weighter(losses_of([1, 1, 0], [8, 8, 0]), jacobian)
    weighter(losses_of([1, 1, 1]), rows([2.0, 0.0], [0.0, 1.0], [5.0, 0.0]))
    assert weighter.shares[2] < 0.5
    assert weighter.shares.sum().item() == pytest.approx(1)


def test_excess_mtl_refuses_an_incomplete_batch():
    weighter = build("excess-mtl", ["a", "b"])
    weighter(losses_of([1, 1]), rows(RIGHT, UP))
    with pytest.raises(UsageError, match="of the same size at every step. Found 1 numbers after 2"):
        weighter(losses_of([1, 1]), rows([1.0], [2.0]))

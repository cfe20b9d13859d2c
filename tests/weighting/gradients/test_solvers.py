"""The solutions of what methods ask of gradients, by the conditions that only these fulfil."""

import pytest
import torch

from deepchest_cli.weighting.gradients.solvers import projected, shortest_average


def products_of(tasks: int, numbers: int, seed: int, sources: int) -> torch.Tensor:
    """Return the products of gradients; those of two sources are orthogonal, as they share no row.

    Of such products scipy's `nnls` alone gives wrong answers.
    """
    chance = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(tasks, sources, numbers, dtype=torch.float64, generator=chance)
    for task in range(tasks):
        jacobian[task, torch.arange(sources) != task % sources] = 0
    gramian = jacobian.flatten(1) @ jacobian.flatten(1).T
    return gramian / gramian.trace()


CASES = [(14, 64, 1), (8, 20, 2), (12, 64, 2), (27, 512, 2), (18, 30, 3)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("tasks", "numbers", "sources"), CASES)
def test_a_projection_is_the_nearest_point_of_the_cone(tasks, numbers, sources, seed):
    """The point conflicts with no gradient, and what was added only touches those on its edge."""
    gramian = products_of(tasks, numbers, seed, sources)
    sums = torch.eye(tasks, dtype=torch.float64)
    found = projected(gramian, sums)
    rises = found @ gramian  # of each task, along each projection
    scale = gramian.diagonal().max()
    assert (found >= sums - 1e-9).all()
    assert rises.min() >= -1e-9 * scale
    assert ((found - sums) * rises).abs().max() <= 1e-9 * scale


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("tasks", "numbers", "sources"), CASES)
def test_the_shortest_average_is_the_shortest(tasks, numbers, sources, seed):
    gramian = products_of(tasks, numbers, seed, sources)
    weights = shortest_average(gramian)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    along = gramian @ weights
    square = weights @ along
    assert along.min() >= square - 1e-9 * gramian.diagonal().max()
    assert (along - square)[weights > 0].abs().max() <= 1e-9 * gramian.diagonal().max()

"""The same methods as another library has them, where it has them."""

import pytest
import torch

from deepchest_cli.weighting import EqualWeighter, Performance, TaskLosses
from deepchest_cli.weighting.dwa import DynamicWeightAverage
from deepchest_cli.weighting.fixed import FixedWeighter
from deepchest_cli.weighting.gls import GeometricLossWeighter
from deepchest_cli.weighting.rlw import RandomLossWeighter

theirs = pytest.importorskip("torchjd.scalarization")

TASKS = [f"task {i}" for i in range(14)]
WEIGHTS = [0.1 * (i + 1) for i in range(14)]


def batches(number, seed=0):
    """Losses from 0.01 to 1 or so."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, 14, generator=generator, dtype=torch.float64)
    return (drawn - 2).exp()


def compare(weighter, scalarizer, values):
    """Objective and gradient of both for the losses (T,) of a batch."""
    ours, other = (values.clone().requires_grad_() for _ in range(2))
    objective = weighter(TaskLosses(ours, torch.full((14,), 32)))
    reference = scalarizer(other)
    objective.backward()
    reference.backward()
    assert objective.item() == pytest.approx(reference.item(), rel=1e-12)
    assert ours.grad.tolist() == pytest.approx(other.grad.tolist(), rel=1e-10)
    assert weighter.weights.tolist() == pytest.approx(other.grad.tolist(), rel=1e-10)


def test_the_sum():
    for values in batches(5):
        compare(EqualWeighter(TASKS), theirs.Sum(), values)


def test_constant_weights():
    given = ",".join(f"{task}:{weight}" for task, weight in zip(TASKS, WEIGHTS, strict=True))
    reference = theirs.Constant(torch.tensor(WEIGHTS, dtype=torch.float64))
    for values in batches(5):
        compare(FixedWeighter(TASKS, weights=given), reference, values)


def test_the_geometric_mean():
    for values in batches(5):
        compare(GeometricLossWeighter(TASKS), theirs.GeometricMean(), values)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_dynamic_weight_average(temperature):
    weighter = DynamicWeightAverage(TASKS, temperature=temperature)
    reference = theirs.DWA(temperature=temperature)
    for epoch in range(5):
        losses = batches(4, seed=epoch)
        for values in losses:
            compare(weighter, reference, values)
        weighter.end_epoch(Performance(training={"loss": losses.mean(dim=0)}))
        reference.step()


def test_random_weights_have_the_same_distribution():
    draws = 4000
    # their weight of a task is the gradient by its loss
    values = torch.ones(3, requires_grad=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reference = [torch.autograd.grad(theirs.Random()(values), values)[0] for _ in range(draws)]
    weighter, ours = RandomLossWeighter("abc"), []
    for _ in range(draws):
        weighter(TaskLosses(values, torch.full((3,), 32)))
        ours.append(weighter.weights)
    shape = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    for task in range(3):
        mine = torch.stack(ours)[:, task].quantile(shape)
        other = torch.stack(reference)[:, task].quantile(shape)
        # the sampling error of such a quantile is about 0.005
        assert mine.tolist() == pytest.approx(other.tolist(), abs=0.025)

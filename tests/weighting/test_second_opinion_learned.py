"""Learned weightings against those of TorchJD, where their definitions can be brought together."""

import pytest
import torch

from deepchest_cli.weighting.base import Performance, TaskLosses
from deepchest_cli.weighting.famo import FamoWeighter
from deepchest_cli.weighting.imtl_l import ImpartialLossWeighter
from deepchest_cli.weighting.stch import SmoothTchebycheff
from deepchest_cli.weighting.uncertainty import UncertaintyWeighter

scalarization = pytest.importorskip("torchjd.scalarization")

TASKS = [f"task {i}" for i in range(14)]
STEPS = 25


def drawn(seed=0):
    """Losses of a run (STEPS, T), from 0.001 to 3."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(STEPS, len(TASKS), generator=generator) ** 3 + 1e-3


def leaves(row, factor=1.0):
    """The same losses twice, as ours and as theirs."""
    return row.clone().requires_grad_(), (factor * row).requires_grad_()


def ours_of(values):
    return TaskLosses(values, torch.ones(len(TASKS), dtype=torch.long))


def compare(ours, theirs, factor=1.0):
    """Descend with both on the same losses, theirs times `factor`."""
    optimizers = [torch.optim.Adam(one.parameters(), lr=0.1) for one in (ours, theirs)]
    for row in drawn():
        values, others = leaves(row, factor)
        for optimizer in optimizers:
            optimizer.zero_grad()
        objective, other = ours(ours_of(values)), theirs(others)
        objective.backward()
        other.backward()
        for optimizer in optimizers:
            optimizer.step()
        torch.testing.assert_close(objective, other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values.grad, factor * others.grad, rtol=1e-4, atol=1e-6)


def test_uncertainty():
    """Theirs is the regression form, L / 2: twice the losses make it the classification form."""
    compare(UncertaintyWeighter(TASKS), scalarization.UW(len(TASKS)), factor=2.0)


def test_the_authors_form_is_the_same_function_of_sigma():
    ours, theirs = UncertaintyWeighter(TASKS, form="authors"), scalarization.UW(len(TASKS))
    with torch.no_grad():
        ours.log_scales.copy_(torch.linspace(-2, 2, len(TASKS)))
        theirs.log_var.copy_(2 * ours.log_scales)
    values, others = leaves(drawn()[0], 2.0)
    torch.testing.assert_close(ours(ours_of(values)), theirs(others))


def test_impartial_losses():
    compare(ImpartialLossWeighter(TASKS), scalarization.IMTLL(len(TASKS)))


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0])
def test_smooth_tchebycheff(mu):
    """Theirs of log L, with the nadirs' logarithms as ideal point and preferences of 1."""
    ours = SmoothTchebycheff(TASKS, mu=mu, warmup_epochs=1)
    nadir, *rows = drawn()
    ours.end_epoch(Performance({"loss": nadir.double()}))
    theirs = scalarization.STCH(mu, weights=torch.ones(len(TASKS)), reference=nadir.log())
    for row in rows:
        values, others = leaves(row)
        objective, other = ours(ours_of(values)), len(TASKS) * theirs(others.log())
        objective.backward()
        other.backward()
        torch.testing.assert_close(objective, other, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values.grad, others.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [(0.025, 1e-3), (0.2, 0.01)])
def test_famo(options):
    rate, decay = options
    ours = FamoWeighter(TASKS, learning_rate=rate, decay=decay)
    theirs = scalarization.FAMO(len(TASKS), lr=rate, weight_decay=decay)
    for row, change in zip(drawn(), drawn(seed=1), strict=True):
        values, others = leaves(row)
        after = row * (0.5 + change / 3)
        objective, other = ours(ours_of(values)), theirs(others)
        objective.backward()
        other.backward()
        torch.testing.assert_close(objective, other, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(values.grad, others.grad, rtol=1e-3, atol=1e-6)
        ours.after_step(lambda after=after: ours_of(after))
        theirs.update(after)

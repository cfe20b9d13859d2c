"""How often a step of a weighter of task gradients waits for a device, and what reaches Metal."""

import pytest
import torch
from gradients_problems import LOSSES, NAMES, TASKS, build, conflicting, waits_of
from simulated_device import simulated, values_of

from deepchest_cli.weighting import TaskLosses

STEPS = 3


class Run:
    """A weighter on a device, and what it is given in the steps of a run."""

    def __init__(self, name, device):
        self.weighter = build(name)
        self.weighter.to(device)
        self.logits = torch.linspace(-2, 2, 8 * len(TASKS)).view(8, -1).to(device)
        self.steps = []
        for step in range(STEPS):
            jacobian, known = conflicting(seed=step), torch.full((len(TASKS),), 8)
            if step == STEPS - 1:
                jacobian[1], known[1] = 0, 0
            losses = TaskLosses(torch.tensor(LOSSES).to(device), known.to(device))
            self.steps.append((losses, jacobian.to(device)))

    def results(self):
        """Return direction, weights (None for some) and head weights of each step."""
        found = []
        for losses, jacobian in self.steps:
            self.weighter.observe(self.logits, self.logits, self.logits > 0)
            direction = self.weighter(losses, jacobian)
            self.weighter.after_step(lambda losses=losses: losses)
            found.append((direction, self.weighter.weights, self.weighter.head_weights))
        return values_of(found)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_waits_for_the_device_as_often_as_is_written_down(name, kind):
    """The simulated Metal refuses double precision, and every device tensors of another."""
    expected = Run(name, torch.device("cpu")).results()
    with simulated(kind) as device:
        run = Run(name, device.device)
        with device.counting():
            found = run.results()
    assert device.waits.total() == STEPS * waits_of(name), device.waits
    for step, right in zip(found, expected, strict=True):
        for value, other in zip(step, right, strict=True):
            assert (value is None) == (other is None)
            assert other is None or torch.allclose(value.double(), other.double(), 1e-4, 1e-6)

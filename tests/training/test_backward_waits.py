"""How often the backward pass of a gradient weighter's step waits for a device."""

from dataclasses import replace

import pytest
import torch
from backward_setups import (
    LEVELS,
    TASKS,
    batch_of,
    gradients,
    maker,
    radiographs_for,
    same,
    scaler_for,
)
from gradients_problems import NAMES, waits_of
from simulated_device import simulated, values_of

from deepchest_cli.training.step import choose_backward
from deepchest_cli.weighting import build_weighter

DEVICES = ("cuda", "mps")


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


def step_on(device, shards, name, micro_batches=1, **settings):
    """Return a step's gradients and weights as values, and the components; count its waits."""
    components = maker(shards)(build_weighter(name, TASKS), **settings)
    components = replace(components, scaler=scaler_for(components.precision))
    assert components.device.type == device.kind
    images = list(radiographs_for(components).chunk(micro_batches))
    batch, strategy = batch_of(device=components.device), choose_backward(components)
    with device.counting():
        result = strategy(images, batch, 0)
    named = components.classifier.named_parameters()
    found = {name: p.grad for name, p in named if p.grad is not None}
    return values_of(found), values_of(result.weights), components


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_waits_as_often_as_its_weighter(make, shards, name, level, kind):
    right, expected = gradients(make(build_weighter(name, TASKS), gradient_level=level))
    with simulated(kind) as device:
        found, weights, _ = step_on(device, shards, name, gradient_level=level)
    assert device.waits.total() == waits_of(name), device.waits
    assert same(found, expected, 1e-4)
    assert (weights is None) == (right.weights is None)
    assert weights is None or torch.allclose(weights.double(), right.weights, 1e-3, 1e-5)


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["mgda", "gradnorm", "deepchest+excess-mtl"])
def test_micro_batches_add_no_waits(shards, name, level, kind):
    with simulated(kind) as device:
        step_on(device, shards, name, micro_batches=3, gradient_level=level)
    assert device.waits.total() == waits_of(name), device.waits


@pytest.mark.parametrize("kind", DEVICES)
@pytest.mark.parametrize("level", LEVELS)
def test_the_loss_scale_is_not_waited_for(shards, level, kind):
    with simulated(kind) as device:
        found, _, components = step_on(
            device, shards, "mgda", precision="fp16", gradient_level=level
        )
    assert components.scaler.is_enabled()
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert device.waits.total() == waits_of("mgda"), device.waits

"""Gradients of single tasks through the backbones of every family."""

from dataclasses import replace

import pytest
import torch
from backward_setups import (
    BACKBONES,
    LEVELS,
    TASKS,
    GivenWeighter,
    batch_of,
    expected_norms,
    gradients,
    maker,
    radiographs_for,
    relative_difference,
    same,
    scaler_for,
)

from deepchest_cli.training.step import choose_backward
from deepchest_cli.weighting import build_weighter
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_sum_of_task_gradients_is_plain_back_propagation(make, backbone, level):
    by_task = make(GivenWeighter(torch.ones(len(TASKS))), backbone, gradient_level=level)
    # the very same model, which a step in training mode does not change: some are large
    plain = replace(by_task, weighter=build_weighter("equal", TASKS))
    expected, found = gradients(plain), gradients(by_task)
    assert torch.equal(found[0].logits, expected[0].logits)
    assert torch.allclose(found[0].losses.values, expected[0].losses.values)
    assert same(found[1], expected[1])


@pytest.mark.parametrize(
    ("backbone", "precision"), [("resnet18", "bf16"), ("resnet18", "fp16"), ("swin_t", "bf16")]
)
@pytest.mark.parametrize("level", LEVELS)
def test_half_precision_is_that_of_plain_back_propagation(make, backbone, level, precision):
    weighters = (GivenWeighter(torch.ones(len(TASKS))), build_weighter("equal", TASKS))
    (_, found), (_, expected) = (
        gradients(
            replace(
                make(weighter, backbone, gradient_level=level, precision=precision),
                scaler=scaler_for(precision),
            )
        )
        for weighter in weighters
    )
    assert relative_difference(found, expected) < 0.02


class RecordingGradNorm(GradNormWeighter):
    """GradNorm that keeps the norms that it was given."""

    def forward(self, losses, jacobian):
        self.norms = jacobian.norm(dim=1)
        return super().forward(losses, jacobian)


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "vgg11", "vit_b_32"])
def test_gradnorm_measures_any_layer_without_its_gradients(make, backbone):
    components = make(RecordingGradNorm(TASKS), backbone)
    layer = components.classifier.last_shared_layer
    backward = choose_backward(components)
    backward.layer_norms.is_cheaper = lambda tasks: True
    backward([radiographs_for(components)], batch_of(), 0)
    # neither a graph nor a hook is kept beyond its step
    assert backward.layer_norms.output is None
    assert not layer._forward_hooks
    expected = expected_norms(components, [layer.weight])
    assert expected[0] > 0
    assert torch.allclose(components.weighter.norms, expected, rtol=1e-3, atol=1e-7)

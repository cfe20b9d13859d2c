"""GradNorm's gradient norms, and weights that are known before the step."""

import pytest
import torch
from backward_setups import LEVELS, TASK_SETS, expected_norms, gradients, maker, same
from torch import nn

from deepchest_cli.training.backward_parameters import LayerGradientNorms
from deepchest_cli.weighting import build_weighter
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter


class RecordingGradNorm(GradNormWeighter):
    """GradNorm that keeps the norms that it was given."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.norms = None

    def forward(self, losses, jacobian):
        self.norms = jacobian.norm(dim=1)
        return super().forward(losses, jacobian)


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


@pytest.mark.parametrize("tasks", TASK_SETS.values(), ids=TASK_SETS)
@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_gradnorm_uses_the_last_shared_layer_or_all(make, head, level, micro_batches, tasks):
    weighter = RecordingGradNorm(tasks.names)
    components = make(weighter, head=head, gradient_level=level, tasks=tasks)
    classifier = components.classifier
    result, found = gradients(components, micro_batches)
    assert result.weights.tolist() == [1] * len(tasks.names) != weighter.weights.tolist()
    last = classifier.head[0].weight if head == "mlp" else classifier.trunk[10].weight
    by = [last] if level == "features" else classifier.shared_parameters
    assert torch.allclose(weighter.norms, expected_norms(components, by), rtol=1e-4, atol=1e-7)
    # the model gets the gradient of the weighted sum, heads included
    equal = make(build_weighter("equal", tasks.names), head=head, tasks=tasks)
    assert same(found, gradients(equal)[1])
    equal.weighter.task_weights.copy_(weighter.weights)
    assert same(gradients(components, micro_batches)[1], gradients(equal)[1])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 5, 3, stride=2, padding=1, dilation=2), (4, 3, 11, 9)),
        (nn.Conv2d(4, 6, 1), (2, 4, 5, 5)),
        (nn.Linear(7, 3), (5, 7)),
        (nn.Linear(7, 3), (5, 4, 7)),
    ],
)
def test_norms_are_those_of_the_gradients(layer, shape):
    layer_norms, chance = LayerGradientNorms(layer), torch.Generator().manual_seed(0)
    with layer_norms.recording():
        output = layer(torch.randn(shape, generator=chance))
        features = output.flatten(1).tanh()
        starts = torch.randn(3, *features.shape, generator=chance)
        found = layer_norms.norms(features, starts)
    for norm, start in zip(found, starts, strict=True):
        (gradient,) = torch.autograd.grad(features, layer.weight, start, retain_graph=True)
        assert norm.item() == pytest.approx(gradient.norm().item(), rel=1e-4)


def test_norms_of_scaled_gradients_in_half_precision_do_not_overflow():
    layer, chance = nn.Linear(8, 400).half(), torch.Generator().manual_seed(0)
    layer_norms, inputs = LayerGradientNorms(layer), torch.randn(5, 8, generator=chance).half()
    start = 30 * torch.randn(1, 5, 400, generator=chance).half()  # rows have a norm of 600
    with layer_norms.recording():
        found = layer_norms.norms(layer(inputs).clone(), start)
    expected = start[0].float().T @ inputs.float()
    assert found.item() == pytest.approx(expected.norm().item(), rel=0.01)


def test_norms_are_computed_only_where_that_is_cheaper():
    few, many = (torch.zeros(n, 64, 4, 4) for n in (2, 4096))
    layer_norms, grouped = (LayerGradientNorms(nn.Conv2d(64, 64, 3, groups=g)) for g in (1, 64))
    for radiographs, cheaper in ((few, True), (many, False)):
        with layer_norms.recording():
            layer_norms.layer(radiographs)
            assert layer_norms.is_cheaper(14) is cheaper
    with grouped.recording():
        grouped.layer(few)
        assert not grouped.is_cheaper(14)

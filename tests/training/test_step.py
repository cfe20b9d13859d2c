from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import StochasticDepth

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import batches
from deepchest_cli.errors import UsageError
from deepchest_cli.training.components import build_components
from deepchest_cli.training.forward import Forward
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.weighting import LossWeighter


class GeometricMean(LossWeighter):
    """An objective in which every loss weighs by all the others, with a parameter of its own."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.power = torch.nn.Parameter(torch.ones(()))

    @property
    def weights(self):
        return None

    def forward(self, losses):
        return (self.power * losses.values.clamp(min=1e-6).log().mean()).exp()


@pytest.fixture
def config(shards):
    return TrainConfig(
        data=(str(shards),),
        backbone="small_cnn",
        batch_size=16,
        learning_rate=1e-2,
        warmup_steps=0,
        precision="fp32",
    )


def stepped(config, steps=2, weighter=None):
    """Return a setup after some steps, and what each step found."""
    setup = build_components(config)
    if weighter is not None:
        setup = replace(setup, weighter=weighter(setup.dataset.findings))
    take_step = TrainingStep(setup)
    order = setup.sampling.order(0, 0)
    found = [
        take_step(batch, step)
        for step, batch in zip(range(steps), batches(setup.reader, order, 16), strict=False)
    ]
    return setup, found


def tensors_of(module):
    return [*module.parameters(), *module.buffers()]


def same(one, other, **tolerance):
    return all(
        torch.allclose(a, b, **tolerance)
        for a, b in zip(tensors_of(one), tensors_of(other), strict=True)
    )


@pytest.mark.parametrize("weighter", [None, GeometricMean])
@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_step_in_parts_is_the_step(config, weighter, accumulate):
    config = replace(config, optimizer="sgd")
    whole, seen = stepped(config, weighter=weighter)
    parts, seen_in_parts = stepped(replace(config, grad_accum_steps=accumulate), weighter=weighter)
    assert same(parts.classifier, whole.classifier, rtol=1e-4, atol=1e-6)
    assert not same(build_components(config).classifier, whole.classifier, rtol=1e-4, atol=1e-6)
    assert same(parts.weighter, whole.weighter, rtol=1e-4)
    for found, expected in zip(seen_in_parts, seen, strict=True):
        assert torch.allclose(found.losses.values, expected.losses.values, rtol=1e-4)
        assert torch.allclose(found.logits, expected.logits, rtol=1e-3, atol=1e-5)


def test_a_parameter_of_the_weighter_learns_the_same_in_parts(config):
    gradients = [
        stepped(replace(config, grad_accum_steps=n), 1, GeometricMean)[0].weighter.power.grad
        for n in (1, 4)
    ]
    assert gradients[0] != 0
    assert torch.allclose(*gradients, rtol=1e-4)


def test_looking_twice_draws_the_same_dropout(config):
    setup = build_components(replace(config, backbone="mobilenet_v2"))
    forward = Forward(setup)
    part = torch.rand(4, 1, 32, 32)
    with torch.no_grad():
        one, same, other = (
            forward._compute(forward.network, part, 0, number)[1] for number in (0, 0, 1)
        )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("weighter", [None, GeometricMean])
def test_dropout_of_the_features_is_the_same_in_both_passes_of_a_micro_batch(config, weighter):
    config = replace(config, dropout=0.5, grad_accum_steps=2)
    forward = Forward(build_components(config))
    parts = [torch.rand(4, 1, 32, 32) for _ in range(2)]
    logits = forward.all_logits(parts, 0)
    assert torch.equal(logits, torch.cat([found[1] for found in forward.micro_batches(parts, 0)]))
    assert not torch.equal(logits, forward.all_logits(parts, 1))
    _, (first, *_) = stepped(config, weighter=weighter)
    _, (again, *_) = stepped(config, weighter=weighter)
    assert torch.equal(first.logits, again.logits)


def test_the_rate_of_stochastic_depth_reaches_the_backbone(config):
    setup = build_components(replace(config, backbone="swin_t", drop_path=0.3, weights="none"))
    rates = [m.p for m in setup.classifier.modules() if isinstance(m, StochasticDepth)]
    assert rates[-1] == 0.3
    assert rates == sorted(rates)
    assert build_components(replace(config, dropout=0.4)).classifier.dropout == 0.4
    with pytest.raises(UsageError, match="has no stochastic depth"):
        build_components(replace(config, drop_path=0.3))


def test_a_clipped_gradient_is_no_longer_than_asked(config):
    norms = []
    for clip in (0.0, 0.01):
        setup, _ = stepped(replace(config, clip_grad_norm=clip), 1)
        gradients = [parameter.grad.norm() for parameter in setup.classifier.parameters()]
        norms.append(torch.stack(gradients).norm().item())
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_half_precision_is_scaled_and_unscaled(config):
    half, found = stepped(replace(config, precision="fp16", optimizer="sgd"))
    full, expected = stepped(replace(config, precision="fp32", optimizer="sgd"))
    assert half.scaler.get_scale() > 1
    assert same(half.classifier, full.classifier, atol=2e-3)
    assert not same(half.classifier, full.classifier, rtol=0, atol=0)
    assert torch.allclose(found[1].losses.values, expected[1].losses.values, atol=1e-2)


def test_losses_that_call_for_rare_findings_combine_with_any_weighter(config):
    rare = replace(
        config, loss="asymmetric", pos_weight_power=0.5, logit_adjustment=1, sampling="balanced"
    )
    for weighter in ("equal", "deepchest"):
        setup, found = stepped(replace(rare, weighter=weighter), 3)
        assert setup.sampling.groups[0].probabilities is not None
        assert torch.isfinite(found[-1].losses.values).all()


def test_augmentation_follows_from_seed_and_step_only(config):
    setup = build_components(config)
    batch = next(batches(setup.reader, np.sort(setup.training_rows), 16))
    step = TrainingStep(setup)
    one, same, later = (step._network_input(batch, number) for number in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, later)


@pytest.mark.parametrize("change", [{"augment": "paper"}, {"augment": "none"}, {"flip": True}])
def test_every_augmentation_is_another(config, change):
    batch = next(batches(build_components(config).reader, np.arange(16), 16))
    inputs = [
        TrainingStep(build_components(replace(config, **c)))._network_input(batch, 0)
        for c in ({}, change)
    ]
    assert not torch.allclose(*inputs)


@pytest.mark.parametrize("weighter", [None, GeometricMean])
def test_every_batch_norm_counts_every_micro_batch_once(config, weighter):
    config = replace(config, backbone="resnet18", weights="none", grad_accum_steps=2)
    setup, _ = stepped(config, steps=3, weighter=weighter)
    layers = [m for m in setup.classifier.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [int(layer.num_batches_tracked) for layer in layers] == [6] * 20
    frozen, _ = stepped(replace(config, freeze="all"), weighter=weighter)
    counts = [b for name, b in frozen.classifier.named_buffers() if "num_batches" in name]
    assert not any(counts)

"""Gradients of single tasks in the training step, against plain back-propagation."""

from dataclasses import replace

import pytest
import torch
from backward_setups import (
    LEVELS,
    TASK_SETS,
    TASKS,
    GivenWeighter,
    batch_of,
    gradients,
    maker,
    radiographs_for,
    relative_difference,
    same,
    scaler_for,
)
from tests_support import QUICK

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.training.backward import task_logit_gradients
from deepchest_cli.training.components import build_components
from deepchest_cli.training.losses import FocalLoss
from deepchest_cli.training.optimization import build_optimizer
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.weighting import build_weighter
from deepchest_cli.weighting.losses import cross_entropy, task_losses


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


@pytest.mark.parametrize("tasks", TASK_SETS.values(), ids=TASK_SETS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_weights_act_on_shared_parameters_and_not_on_each_tasks_own(make, head, level, tasks):
    """With equal weights this is plain back-propagation."""
    weights = torch.linspace(-1, 2, len(tasks.names))
    fixed, equal = (build_weighter("equal", tasks.names) for _ in range(2))
    fixed.task_weights.copy_(weights)
    weighted = gradients(make(fixed, head=head, tasks=tasks))[1]
    plain, unweighted = gradients(make(equal, head=head, tasks=tasks))
    setting = {"head": head, "gradient_level": level, "tasks": tasks}
    result, by_task = gradients(make(GivenWeighter(torch.ones(len(weights))), **setting))
    assert torch.equal(result.logits, plain.logits)
    assert torch.allclose(result.losses.values, plain.losses.values)
    assert same(by_task, unweighted)
    _, found = gradients(make(GivenWeighter(weights), **setting))
    own = {"linear": "head.", "mlp": "head.2."}[head]
    expected = {k: unweighted[k] if k.startswith(own) else weighted[k] for k in found}
    assert not same(unweighted, weighted, 1e-2)
    assert same(found, expected)


@pytest.mark.parametrize("tasks", TASK_SETS.values(), ids=TASK_SETS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_row_is_the_gradient_of_its_task(make, head, level, tasks):
    weighter = GivenWeighter(torch.ones(len(tasks.names)))
    components = make(weighter, head=head, gradient_level=level, tasks=tasks)
    components = replace(components, label_loss=FocalLoss(2.0))
    gradients(components)
    classifier, batch = components.classifier, batch_of(len(tasks.names))
    features, logits = classifier(radiographs_for(components))
    logits = logits[:, tasks.finding]
    losses = task_losses(logits, batch.labels, batch.known, FocalLoss(2.0))
    by = [features] if level == "features" else classifier.shared_parameters
    for task, (loss, row) in enumerate(zip(losses.values, weighter.jacobian, strict=True)):
        found = torch.autograd.grad(loss, by, retain_graph=True, materialize_grads=True)
        expected = torch.cat([gradient.flatten() for gradient in found])
        assert (row - expected).abs().max() <= 1e-5 * expected.abs().max() + 1e-9, task
    assert not weighter.jacobian[1].any()  # without a known label


@pytest.mark.parametrize("tasks", TASK_SETS.values(), ids=TASK_SETS)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("micro_batches", [2, 3])
@pytest.mark.parametrize("name", ["mgda", "pcgrad", "gradnorm"])
def test_a_step_in_micro_batches_is_the_step(make, name, level, micro_batches, tasks):
    setting = {"gradient_level": level, "tasks": tasks}
    whole, accumulated = (
        gradients(make(build_weighter(name, tasks.names), **setting), count)
        for count in (1, micro_batches)
    )
    assert same(accumulated[1], whole[1], 1e-4)
    assert torch.allclose(accumulated[0].weights, whole[0].weights, rtol=1e-3, atol=1e-5)


# fp16 is slow on a CPU
@pytest.mark.parametrize(
    ("precision", "tasks", "size", "tolerance"),
    [("bf16", FINDINGS, 32, 0.05), ("fp16", TASKS, 28, 0.02)],
    ids=["bf16", "fp16"],
)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["upgrad", "mgda", "gradnorm"])
def test_half_precision_gives_the_same_direction(
    make, name, level, precision, tasks, size, tolerance
):
    full, half = (
        make(build_weighter(name, tasks), size=size, gradient_level=level, precision=p)
        for p in ("fp32", precision)
    )
    half = replace(half, scaler=scaler_for(precision))
    found, expected = gradients(half), gradients(full)
    scaled = {name: gradient / half.scaler.get_scale() for name, gradient in found[1].items()}
    assert relative_difference(scaled, expected[1]) < tolerance
    assert torch.allclose(found[0].weights, expected[0].weights, atol=0.02)


def test_a_scale_that_is_too_large_skips_the_step(make):
    weighter = build_weighter("mgda", TASKS)
    components = make(weighter, precision="fp16", gradient_level="parameters")
    classifier = components.classifier
    components = replace(
        components,
        optimizer=build_optimizer(classifier, weighter, components.config),
        scaler=torch.amp.GradScaler("cpu", init_scale=2.0**40),
    )
    before = [parameter.detach().clone() for parameter in classifier.parameters()]
    images = torch.randint(0, 255, (6, 28, 28), dtype=torch.uint8)
    TrainingStep(components)(replace(batch_of(), images=images), 0)
    assert all(torch.equal(a, b) for a, b in zip(before, classifier.parameters(), strict=True))
    assert components.scaler.get_scale() < 2.0**40
    assert weighter.failures == 0


def test_task_gradients_of_half_precision_logits_do_not_vanish():
    logits = torch.full((512, 1), -16.0, dtype=torch.float16)
    known = torch.ones(512, 1, dtype=torch.bool)
    _, found = task_logit_gradients(logits, torch.zeros(512, 1), known, cross_entropy)
    expected = torch.sigmoid(torch.tensor(-16.0)).item() / 512  # half of the smallest number
    assert found[0].item() == pytest.approx(expected, rel=1e-3)


def test_deepchests_weights_reach_the_findings_own_parameters(make):
    above = build_weighter("deepchest+upgrad", TASKS)
    weights = torch.linspace(0.5, 1.5, len(TASKS))
    above.deepchest.task_weights.copy_(weights)
    _, found = gradients(make(above))
    _, plain = gradients(make(build_weighter("upgrad", TASKS)))
    assert torch.allclose(found["head.bias"], weights * plain["head.bias"], rtol=1e-5, atol=1e-8)


@pytest.fixture
def config(shards):
    return TrainConfig(data=(str(shards),), **QUICK | {"backbone": "small_cnn"})


@pytest.mark.parametrize("level", LEVELS)
def test_a_compiled_model_is_refused_only_where_it_must_be(config, level):
    config = replace(config, compile=True, gradient_level=level)
    for name, fits in (("mgda", level == "features"), ("gradnorm", False)):
        if fits:
            build_components(replace(config, weighter=name))
            continue
        message = "--compile: .* a compiled model allows one a step"
        with pytest.raises(UsageError, match=message) as error:
            build_components(replace(config, weighter=name))
        assert "Leave --compile out" in error.value.hint


@pytest.mark.parametrize("name", ["mgda", "gradnorm", "deepchest+pcgrad"])
def test_a_model_without_shared_features_is_refused(config, name):
    message = f"'{name.replace('+', '.')}' needs features that all"
    with pytest.raises(UsageError, match=message) as error:
        build_components(replace(config, head="cross-stitch", weighter=name))
    assert error.value.hint == "Use --head linear or --head mlp."


def test_a_level_for_a_weighter_without_gradients_is_refused(config):
    with pytest.raises(UsageError, match="the weighter 'dwa' needs no gradients"):
        build_components(replace(config, weighter="dwa", gradient_level="parameters"))

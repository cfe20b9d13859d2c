from dataclasses import replace

import pytest
import torch
from backward_setups import TASKS, GivenWeighter, expected_norms, gradients, maker, same
from tests_support import QUICK, untimed
from trunk_shapes import trunk_of

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.recomputation import recompute_blocks
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.weighting import EqualWeighter
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter

# with batch norm, with stochastic depth, with dense connections, with dropout in its blocks
BACKBONES = ["mobilenet_v2", "efficientnet_b0", "swin_t", "densenet121", "inception_v3", "vit_b_32"]


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


@pytest.fixture
def config(shards, tmp_path):
    settings = {**QUICK, "backbone": "mobilenet_v2", "weights": "none"}  # with layers and blocks
    return TrainConfig(data=(str(shards),), out=tmp_path / "run", **settings)


def state_of(components):
    return {name: value.clone() for name, value in components.classifier.state_dict().items()}


def recompute(components):
    recompute_blocks(components.classifier.trunk, replace(components.config, grad_checkpoint=True))


def with_dropout(components):
    for module in components.classifier.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_and_statistics_are_those_without_it(make, backbone):
    plain, recomputing = (make(EqualWeighter(TASKS), backbone) for _ in range(2))
    for components in (plain, recomputing):
        with_dropout(components)
    recompute(recomputing)
    (result, expected), (ours, found) = (gradients(one, 2) for one in (plain, recomputing))
    assert torch.equal(ours.logits, result.logits)
    assert same(found, expected, 1e-6)
    after = state_of(plain)
    assert state_of(recomputing).keys() == after.keys()
    assert all(torch.equal(value, after[key]) for key, value in state_of(recomputing).items())


@pytest.mark.parametrize("level", ["features", "parameters"])
@pytest.mark.parametrize("weighter", ["given", "gradnorm"])
def test_gradient_weighters_combine_the_same_gradients(make, weighter, level):
    def build():
        given = GivenWeighter(torch.tensor([2.0, 1.0, 0.0, 1.0]))
        one = given if weighter == "given" else GradNormWeighter(TASKS)
        return make(one, "resnet18", gradient_level=level)

    plain, recomputing = build(), build()
    recompute(recomputing)
    (result, expected), (ours, found) = gradients(plain), gradients(recomputing)
    assert same(found, expected)
    assert torch.allclose(ours.weights, result.weights, rtol=1e-5)
    if weighter == "given":
        jacobians = [one.weighter.jacobian for one in (plain, recomputing)]
        assert torch.allclose(*jacobians, rtol=1e-4, atol=1e-6)


class Norms(GivenWeighter):
    uses_previous_weights = True


def test_norms_by_the_last_shared_layer_are_those_of_the_first_computation(make):
    components = make(Norms(torch.ones(len(TASKS))), "densenet121", gradient_level="features")
    last = components.classifier.last_shared_layer
    expected = expected_norms(components, [last.weight])
    recompute(components)
    gradients(components)
    found = components.weighter.jacobian.norm(dim=1)
    assert torch.allclose(found, expected, rtol=1e-3)


def kept_bytes(trunk):
    """Return how much memory a forward pass keeps for the backward pass."""
    sizes = {}
    parameters = {parameter.data_ptr() for parameter in trunk.parameters()}

    def keep(tensor):
        if tensor.data_ptr() not in parameters:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trunk.train()(torch.rand(2, 1, 64, 64)).sum()
    return sum(sizes.values())


@pytest.mark.parametrize("name", ["resnet18", "swin_t"])
def test_less_is_kept_for_the_backward_pass(name):
    trunk, _ = trunk_of(name, 64)
    everything = kept_bytes(trunk)
    recompute_blocks(trunk, TrainConfig(grad_checkpoint=True))
    assert kept_bytes(trunk) < 0.6 * everything


def test_nothing_is_computed_again_in_evaluation_or_where_no_gradient_is_asked_for(make):
    components = make(EqualWeighter(TASKS), "mobilenet_v2")
    trunk, images = components.classifier.trunk, torch.rand(2, 1, 32, 32)
    calls = []
    trunk.features[5].register_forward_hook(lambda *_: calls.append(1))
    recompute(components)
    trunk.eval()(images).sum().backward()
    with torch.no_grad():
        trunk.train()(images)
    assert len(calls) == 2


def test_a_run_is_the_same_and_may_be_resumed_without_it(config, tmp_path, recorder):
    config = replace(config, weighter="equal", dropout=0.2, ema=0.9, max_steps=4)
    plain, recomputing = (
        replace(config, out=tmp_path / str(flag), grad_checkpoint=flag) for flag in (False, True)
    )
    for one in (plain, recomputing):
        Trainer(build_components(one), create_run(one), recorder).fit()
    assert untimed(plain.out / "metrics.csv") == untimed(recomputing.out / "metrics.csv")
    ours, theirs = (read_checkpoint(run.out / "last.pt")["tensors"] for run in (recomputing, plain))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_resuming_may_begin_to_recompute(deepchest, config):
    flags = ["--data", config.data[0], "--out", config.out, "--backbone", "mobilenet_v2"]
    flags += ["--batch-size", 16, "--image-size", 32, "--weights", "none"]
    assert deepchest("train", *flags, "--epochs", 1).code == 0
    outcome = deepchest("train", "--resume", config.out, "--grad-checkpoint")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "vgg11", "image_size": 32}, "vgg11 has no blocks"),
        ({"compile": True}, "--grad-checkpoint and --compile exclude each other"),
    ],
)
def test_what_cannot_be_recomputed_is_refused(config, changes, message):
    with pytest.raises(UsageError, match=message):
        build_components(replace(config, grad_checkpoint=True, **changes))

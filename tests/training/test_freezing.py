import signal
from dataclasses import replace

import pytest
import torch
from backward_setups import TASKS, GivenWeighter, gradients, maker, same
from tests_support import QUICK, untimed
from torch import nn

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.layers import layers_of
from deepchest_cli.training.components import build_components
from deepchest_cli.training.freezing import frozen_part
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.weighting import EqualWeighter


@pytest.fixture
def config(shards, tmp_path):
    settings = {**QUICK, "backbone": "mobilenet_v2", "weights": "none"}  # with layers and blocks
    return TrainConfig(data=(str(shards),), out=tmp_path / "run", **settings, ema=0.9)


@pytest.fixture(scope="module")
def make(shards):
    return maker(shards)


class Watch:
    """An observer that keeps the weights after each epoch; it may stop the run after a step."""

    def __init__(self, classifier, stop_after=0):
        self.classifier, self.stop_after, self.steps = classifier, stop_after, 0
        self.states = [self._state()]

    def _state(self):
        return {name: value.clone() for name, value in self.classifier.state_dict().items()}

    def on_step(self, report):
        self.steps += 1
        if self.steps == self.stop_after:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, report):
        self.states.append(self._state())

    def on_note(self, text):
        pass


def train(config, stop_after=0, resumed=False):
    components = build_components(config)
    watch = Watch(components.classifier, stop_after)
    folder = config.out if resumed else create_run(config)
    trainer = Trainer(components, folder, watch)
    if resumed:
        trainer.resume()
    trainer.fit()
    return components, watch.states


def changed(before, after):
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def tensors_of(layers, count):
    """Return the names of parameters and buffers of the first layers in the classifier."""
    return {f"trunk.{name}" for layer in layers[:count] for name in layer.parameters}


def test_first_layers_stay_as_they_are_with_their_statistics_until_they_are_unfrozen(config):
    config = replace(config, freeze="5", unfreeze_epoch=2, batch_size=32)
    components, (start, first, second) = train(config)
    layers = layers_of(components.classifier.trunk)
    frozen = tensors_of(layers, 5)
    modules = {id(part) for layer in layers[:5] for m in layer.modules for part in m.modules()}
    norms = [
        f"trunk.{name}.running_mean"
        for name, module in components.classifier.trunk.named_modules()
        if isinstance(module, nn.BatchNorm2d) and id(module) in modules
    ]
    assert len(norms) == 12
    trained = tensors_of(layers[5:], len(layers)) | {"head.weight", "head.bias"}
    assert not changed(start, first) & {*frozen, *norms}
    assert trained <= changed(start, first)
    assert {*frozen, *norms} <= changed(first, second)
    assert components.evaluated_model is not components.classifier


def test_a_frozen_backbone_leaves_the_head_to_train(config):
    components, (start, *_, last) = train(replace(config, freeze="all", batch_size=32))
    assert changed(start, last) == {"head.weight", "head.bias"}
    averages = components.evaluated_model.state_dict()
    assert changed(start, averages) == {"head.weight", "head.bias"}


def test_frozen_layers_are_in_evaluation_mode_and_have_no_gradients(make):
    components = make(EqualWeighter(TASKS), "mobilenet_v2", freeze="all")
    trunk = components.classifier.trunk
    frozen = frozen_part(components.config, trunk)
    assert frozen.begin_epoch(components.classifier, 1)
    assert not frozen.begin_epoch(components.classifier, 2)
    assert components.classifier.training
    assert not any(module.training for module in trunk.modules())
    _, found = gradients(components)
    assert set(found) == {"head.weight", "head.bias"}
    layers = layers_of(trunk)
    part = frozen_part(replace(components.config, freeze="18"), trunk)
    assert (part.layers, len(part.parameters)) == (18, 0)  # they are frozen already
    assert len(layers) == 18


def test_what_a_network_never_trains_is_not_trained_after_unfreezing(make):
    components = make(EqualWeighter(TASKS), "vit_b_32", freeze="1", unfreeze_epoch=2)
    trunk = components.classifier.trunk
    trunk.encoder.pos_embedding.requires_grad_(False)
    frozen = frozen_part(components.config, trunk)
    assert frozen.begin_epoch(components.classifier, 1)
    assert not trunk.class_token.requires_grad
    assert frozen.begin_epoch(components.classifier, 2)
    assert trunk.class_token.requires_grad
    assert not trunk.encoder.pos_embedding.requires_grad


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_weights_of_a_gradient_weighter_act_on_the_head_over_frozen_features(make, micro_batches):
    given = torch.tensor([2.0, 1.0, 0.0, 1.0])
    components = make(GivenWeighter(given), freeze="all", grad_accum_steps=micro_batches)
    _, everything = gradients(components, micro_batches)
    frozen_part(components.config, components.classifier.trunk).begin_epoch(
        components.classifier, 1
    )
    _, found = gradients(components, micro_batches)
    assert same(found, {name: everything[name] for name in ("head.weight", "head.bias")})


@pytest.mark.parametrize("freeze", ["all", "2"])
@pytest.mark.parametrize("weighter", ["deepchest", "mgda"])
@pytest.mark.parametrize("step", [2, 5])
def test_an_interrupted_run_goes_on_exactly(config, tmp_path, freeze, weighter, step):
    """Before unfreezing and after it."""
    config = replace(config, freeze=freeze, unfreeze_epoch=2, weighter=weighter)
    config = replace(config, backbone="small_cnn", image_size=28, dropout=0.3, layer_decay=0.7)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    with pytest.raises(InterruptedRunError):
        train(config, stop_after=step)
    train(config, resumed=True)
    assert untimed(config.out / "metrics.csv") == untimed(whole.out / "metrics.csv")
    for name in ("last.pt", "best.pt"):
        ours, theirs = (read_checkpoint(run / name)["tensors"] for run in (config.out, whole.out))
        assert not changed(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": "some"}, "--freeze takes all, or a number of layers from 1. Found 'some'"),
        ({"freeze": "0"}, "--freeze takes all, or a number of layers from 1. Found '0'"),
        ({"freeze": "19"}, "--freeze 19: mobilenet_v2 has 18 layers"),
        ({"unfreeze_epoch": 2}, "--unfreeze-epoch 2: nothing is frozen"),
        ({"freeze": "all", "unfreeze_epoch": 3}, "is beyond the last epoch \\(2\\)"),
        (
            {"freeze": "all", "weighter": "pcgrad", "gradient_level": "parameters"},
            "--freeze all: the weighter 'pcgrad' here needs gradients of shared layers",
        ),
        ({"freeze": "all", "weighter": "gradnorm"}, "needs gradients of shared layers"),
        (
            {"freeze": "1", "unfreeze_epoch": 2, "weighter": "mgda"}
            | {"gradient_level": "parameters"},
            "would change their size within the run",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(config, changes, message):
    with pytest.raises(UsageError, match=message):
        build_components(replace(config, **changes))


@pytest.mark.parametrize("weighter", ["pcgrad", "gradnorm"])
def test_the_hidden_layer_of_an_mlp_head_is_shared_and_trained(config, weighter):
    level = "parameters" if weighter == "pcgrad" else "features"
    config = replace(config, freeze="all", head="mlp", weighter=weighter, gradient_level=level)
    _, (start, *_, last) = train(replace(config, max_steps=2, backbone="small_cnn"))
    assert changed(start, last) == {
        f"head.{n}.{kind}" for n in (0, 2) for kind in ("weight", "bias")
    }

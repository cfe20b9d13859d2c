"""Radiographs of which no label is known change nothing, under any weighter.

Single precision rounds sums over a batch of another size otherwise, and a few methods make much of
that: UPGrad and ConFIG where gradients are nearly dependent, UW-SO where a loss is small, FAMO
where one hardly changes. Double precision leaves only what masks would let through.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests_support import weighter_options

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.batches import Batch, batches
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.training.components import build_components
from deepchest_cli.training.optimization import build_optimizer, optimizer_of, parameter_groups
from deepchest_cli.training.probe import build_probe
from deepchest_cli.training.probe_heads import ProbeHeads, ProbePerformance, ProbeWeighter
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.tasks import choose_tasks
from deepchest_cli.training.train_state import EpochMetrics
from deepchest_cli.weighting import WEIGHTERS, Context, Performance, build_weighter
from deepchest_cli.weighting.catalog import INCOMPATIBLE
from deepchest_cli.weighting.trial import METRICS

BATCH, UNKNOWN, STEPS = 12, 4, 3
NAMES = [*WEIGHTERS, *(f"deepchest+{name}" for name in WEIGHTERS if name not in INCOMPATIBLE)]
OF_GRADIENTS = [n for n in NAMES if WEIGHTERS[n.removeprefix("deepchest+")].kind == "gradient"]
OF_LOSSES = [name for name in NAMES if name not in OF_GRADIENTS]
# it draws a number for each entry of the features' gradients: rows between would shift these
LAST = ("graddrop", "deepchest+graddrop")
SETTINGS = {
    "backbone": "small_cnn",  # without batch norm
    "image_size": 28,
    "weights": "none",
    "augment": "none",  # which draws numbers for a whole batch
    "batch_size": BATCH,
    "optimizer": "sgd",  # AdamW would divide rounding by its size
    "learning_rate": 0.05,
    "warmup_steps": 0,
    "precision": "fp32",
    "tasks": "finding-by-source",
}


@pytest.fixture
def double_precision(monkeypatch):
    """Compute everything in double precision."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def built(shards, site_shards):
    data = (str(shards), str(site_shards))
    return build_components(TrainConfig(data=data, **SETTINGS))


@pytest.fixture(scope="module")
def built_of_few(few_shards, site_shards):
    data = (str(few_shards), str(site_shards))
    return build_components(TrainConfig(data=data, **SETTINGS))


@pytest.fixture(scope="module")
def probe(shards, site_shards):
    data = (str(shards), str(site_shards))
    settings = {**SETTINGS, "linear_probe": True, "learning_rate": 1e-3}
    components = build_probe(TrainConfig(data=data, **settings))
    chance = torch.Generator().manual_seed(0)
    rows = np.sort(np.concatenate([components.training_rows, components.validation_rows]))
    features = torch.randn(len(rows), len(components.heads.mean), generator=chance)
    components.reader.load(features, rows)
    return components


def weighter_for(name, tasks):
    options = weighter_options(name, tasks)
    prevalence = torch.full((len(tasks),), 0.1, dtype=torch.float64)
    return build_weighter(name, tasks, options, Context(0, prevalence, 10))


def begun(built, name, **changes):
    """Return components with a weighter and with the initial weights."""
    config = replace(built.config, **changes)
    torch.manual_seed(0)
    classifier = Classifier(built.classifier.architecture).train()
    torch.nn.init.normal_(classifier.task_layer.weight, std=0.1)
    classifier.register_forward_pre_hook(in_default_precision)
    weighter = weighter_for(name, built.tasks.names)
    optimizer = build_optimizer(classifier, weighter, config)
    return replace(
        built, config=config, classifier=classifier, weighter=weighter, optimizer=optimizer
    )


def in_default_precision(module, inputs):
    return tuple(one.to(torch.get_default_dtype()) for one in inputs)


def with_unknown(batch, places):
    """Return a batch with other images at places among its own, whose labels are any."""
    total = BATCH + len(places)
    own = np.setdiff1d(np.arange(total), places)
    chance = torch.Generator().manual_seed(1)
    images = torch.randint(0, 255, (total, *batch.images.shape[1:]), generator=chance)
    images = images.to(batch.images.dtype)
    labels = (torch.rand(total, *batch.labels.shape[1:], generator=chance) < 0.5).to(batch.labels)
    known = torch.zeros(total, *batch.known.shape[1:], dtype=torch.bool)
    for whole, some in ((images, batch.images), (labels, batch.labels), (known, batch.known)):
        whole[own] = some
    return Batch(
        images, labels, known, tuple(np.flatnonzero(known.flatten(0, -2).any(dim=0)).tolist())
    )


def assert_same_steps(make, places):
    """Steps with radiographs of unknown labels leave the gradients of those without.

    After the second step the weighter receives the metrics of what it has seen.
    """
    plain, longer = make(), make()
    pairs = [(one, TrainingStep(one)) for one in (plain, longer)]
    epochs = [EpochMetrics(one.task_shape, one.device) for one in (plain, longer)]
    rows = plain.sampling.order(0, 0)
    coming = list(batches(plain.reader, rows, BATCH))[:STEPS]
    kind = torch.get_default_dtype()
    coming = [replace(batch, labels=batch.labels.to(kind)) for batch in coming]
    chance = torch.Generator().manual_seed(2)
    validation = {m: torch.rand(len(plain.tasks.names), generator=chance) for m in METRICS}
    validation["loss"] = 1 - validation["auroc"]
    for number, batch in enumerate(coming):
        assert 0 < batch.known.float().mean() < 1
        gradients = []
        both = (batch, with_unknown(batch, places))
        for (components, step), epoch, one in zip(pairs, epochs, both, strict=True):
            result = step(one, number)
            epoch.add(result.logits, one.labels, one.known, result.weights)
            named = [
                *components.network.named_parameters(),
                *components.weighter.named_parameters(),
            ]
            gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
            if number == 1:
                components.weighter.end_epoch(performance_of(components, epoch, validation))
        assert gradients[0].keys() == gradients[1].keys()
        largest = max(float(gradient.abs().max()) for gradient in gradients[0].values())
        assert largest > 1e-3
        for name, gradient in gradients[0].items():
            difference = float((gradients[1][name] - gradient).abs().max())
            assert difference <= 1e-6, (number, name, largest)


def performance_of(components, epoch, validation):
    training = epoch.performance()
    counts = torch.full((2, len(components.tasks.names)), 50)
    if components.heads is None:
        return Performance(training, validation, counts)
    rates = range(len(components.heads.rates))
    own = [{name: values[head] for name, values in training.items()} for head in rates]
    return ProbePerformance(heads=tuple(Performance(one, validation, counts) for one in own))


def places_for(name):
    return range(BATCH, BATCH + UNKNOWN) if name in LAST else (0, 3, 4, 11)


@pytest.mark.parametrize("name", ["equal", "deepchest", "uncertainty", "mgda", "gradnorm"])
def test_unknown_rows_change_no_gradient_in_single_precision(built, name):
    assert_same_steps(lambda: begun(built, name), places_for(name))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", NAMES)
def test_unknown_rows_change_no_gradient(built, name):
    assert_same_steps(lambda: begun(built, name), places_for(name))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_unknown_rows_change_no_gradient_by_parameters(built_of_few, name):
    changes = {"gradient_level": "parameters", "grad_accum_steps": 2}
    assert_same_steps(lambda: begun(built_of_few, name, **changes), places_for(name))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", [*OF_LOSSES, "upgrad", "gradnorm"])
def test_unknown_rows_change_no_gradient_of_micro_batches(built, name):
    changes = {"grad_accum_steps": 2}
    assert_same_steps(lambda: begun(built, name, **changes), places_for(name))


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", ["equal", "famo", "mgda", "gradnorm"])
def test_a_micro_batch_may_be_of_unknown_rows_alone(built, name):
    last = range(BATCH, BATCH + UNKNOWN)  # the fourth
    assert_same_steps(lambda: begun(built, name, grad_accum_steps=4), last)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", OF_LOSSES)
def test_unknown_rows_change_no_gradient_of_a_linear_probe(probe, name):
    def make():
        torch.manual_seed(0)
        heads = ProbeHeads(probe.classifier.head, probe.heads.rates).double()
        heads.register_forward_pre_hook(in_default_precision)
        weighter = ProbeWeighter(weighter_for(name, probe.tasks.names), len(heads.rates))
        groups = [
            {**group, "lr_scale": rate / probe.config.learning_rate}
            for rate, head, own in zip(heads.rates, heads.heads, weighter.copies, strict=True)
            for group in parameter_groups(head, own, probe.config)
        ]
        optimizer = optimizer_of(groups, probe.config)
        return replace(probe, heads=heads, weighter=weighter, optimizer=optimizer)

    assert_same_steps(make, places_for(name))


def test_the_tasks_are_those_of_both_data_sets(built, shards, site_shards):
    data = open_datasets([str(shards), str(site_shards)])
    assert built.tasks.names == choose_tasks(built.config, data, built.device).names
    assert len(built.tasks.names) == 14 + 4

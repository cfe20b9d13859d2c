from dataclasses import replace

import pytest
import torch
from torch import nn

from deepchest_cli.config import TrainConfig
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.optimization import (
    build_ema,
    build_optimizer,
    learning_rate,
    set_learning_rate,
)
from deepchest_cli.weighting import EqualWeighter

CONFIG = TrainConfig(learning_rate=0.1, warmup_steps=4)


class LearnedWeighter(EqualWeighter):
    """A weighter with a parameter, as uncertainty weighting has."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.learned = nn.Parameter(torch.zeros(2, 2))


def rates(config, steps=20):
    return [learning_rate(config, step, steps) for step in range(steps)]


def test_cosine_warms_up_peaks_and_ends_near_zero():
    values = rates(CONFIG)
    assert values[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert values == sorted(values[:5]) + sorted(values[5:], reverse=True)
    assert values[-1] < 0.002


def test_constant_stays():
    assert set(rates(replace(CONFIG, schedule="constant"))[4:]) == {0.1}


def test_a_warm_up_takes_at_most_half_of_a_run():
    values = rates(replace(CONFIG, warmup_steps=1000, schedule="constant"))
    assert values[9] < 0.1 == values[10]


def test_the_rate_reaches_every_group():
    optimizer = build_optimizer(nn.Linear(2, 3), LearnedWeighter(["a"]), CONFIG)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25] * 3


@pytest.mark.parametrize(
    ("backbone", "head", "undecayed"),
    [
        ("small_cnn", "cross-stitch", {"head.stitches.0.alpha", "head.hidden.0.bias"}),
        ("vit_b_16", "linear", {"trunk.encoder.pos_embedding", "trunk.class_token"}),
    ],
)
def test_offsets_places_and_shares_do_not_decay(backbone, head, undecayed):
    with torch.device("meta"):
        model = Classifier(Architecture(backbone, head, ("a", "b"), 32, 32))
    optimizer = build_optimizer(model, EqualWeighter(["a"]), CONFIG)
    still = {id(entry) for entry in optimizer.param_groups[1]["params"]}
    names = {name for name, value in model.named_parameters() if id(value) in still}
    assert undecayed <= names
    assert not any(
        name.endswith("weight") and "norm" not in name and "ln" not in name
        for name in names
        if model.get_parameter(name).ndim > 1
    )


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_vectors_and_learned_weights_do_not_decay(name):
    weighter = LearnedWeighter(["a"])
    optimizer = build_optimizer(nn.Linear(2, 3), weighter, replace(CONFIG, optimizer=name))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(weighter.learned)] == 0
    assert sorted(decay.values()) == [0, 0, CONFIG.weight_decay]


def test_the_average_follows_its_recurrence():
    model = nn.Linear(1, 1, bias=False)
    average = build_ema(model, decay=0.5)
    seen, expected = [1.0, 2.0, 4.0, -3.0], 1.0
    for count, value in enumerate(seen):
        model.weight.data.fill_(value)
        average.update_parameters(model)
        if count:
            decay = min(0.5, (1 + count) / (10 + count))
            expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_the_average_has_the_latest_batch_norm_statistics():
    model = nn.BatchNorm1d(1)
    average = build_ema(model, 0.9)
    for value in (1.0, 5.0):
        model.running_mean.fill_(value)
        average.update_parameters(model)
    assert average.module.running_mean.item() == 5


def test_no_decay_no_average():
    assert build_ema(nn.Linear(1, 1), 0.0) is None

from dataclasses import replace

import pytest
import torch
from torch import nn

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.optimisation import build_optimizer, build_schedule
from deepchest_cli.weighting import EqualWeighter

CONFIG = TrainConfig(learning_rate=0.1, warmup_steps=4)


class LearntWeighter(EqualWeighter):
    """A weighter with a parameter, as uncertainty weighting has."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.learnt = nn.Parameter(torch.zeros(2, 2))


def rates(config, steps=20):
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, EqualWeighter(["a"]), config)
    schedule = build_schedule(optimizer, config, steps)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


def test_cosine_warms_up_peaks_and_ends_near_zero():
    values = rates(CONFIG)
    assert values[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])
    assert values == sorted(values[:5]) + sorted(values[5:], reverse=True)
    assert values[-1] < 0.002


def test_constant_stays():
    assert set(rates(replace(CONFIG, schedule="constant"))[4:]) == {0.1}


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_vectors_and_learnt_weights_do_not_decay(name):
    weighter = LearntWeighter(["a"])
    optimizer = build_optimizer(nn.Linear(2, 3), weighter, replace(CONFIG, optimizer=name))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(weighter.learnt)] == 0
    assert sorted(decay.values()) == [0, 0, CONFIG.weight_decay]

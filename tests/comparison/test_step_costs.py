from dataclasses import replace

import pytest
from tests_support import QUICK

from deepchest_cli.comparison.running.costs import candidates, measure, prepare_cost, ratio
from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import open_dataset


def test_a_ratio_turned_round_is_the_inverse():
    one, other = [1.0, 1.2, 1.1], [2.0, 2.1, 2.6]
    found, inverse = ratio(one, other), ratio(other, one)
    assert found.estimate == pytest.approx(1 / inverse.estimate)
    assert found.low == pytest.approx(1 / inverse.high)
    assert found.low < found.estimate < found.high


def test_the_ratio_to_itself_is_one():
    assert ratio([1.0, 3.0], [1.0, 3.0]).high == 1


def test_weighters_share_the_memory_of_one_run(shards):
    first = TrainConfig(data=(str(shards),), weighter="equal", optimizer="adamw", **QUICK)
    configs = {name: replace(first, weighter=name) for name in ("equal", "uncertainty", "dwa")}
    setup, batch = prepare_cost(first, open_dataset(shards))
    found = candidates(setup, configs)
    measure(found, batch, rounds=2)
    weight = next(setup.classifier.parameters())
    moments = [found[name].step.components.optimizer.state[weight] for name in configs]
    assert moments[0]["exp_avg"].abs().sum() > 0
    assert all(other["exp_avg"] is moments[0]["exp_avg"] for other in moments)
    assert all(len(candidate.seconds) == 2 for candidate in found.values())

from dataclasses import replace

import pytest
import torch
from tests_support import QUICK

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.training.components import build_components


@pytest.fixture
def config(shards):
    return TrainConfig(data=(str(shards),), **QUICK)


def test_the_seed_fixes_the_initial_weights(config):
    one, same, other = (build_components(replace(config, seed=s)).classifier for s in (3, 3, 4))
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_the_test_part_is_not_among_the_rows(config):
    setup = build_components(config)
    used = {*setup.training_rows.tolist(), *setup.validation_rows.tolist()}
    assert not used & set(setup.dataset.rows("test").tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 64}, "--image-size 64 is larger than the stored 32 px"),
        ({"batch_size": 500}, "--batch-size 500 is larger than the training split"),
        ({"data": ("nowhere",)}, "nowhere is not a prepared data set"),
        ({"weighter": "deepchst"}, "Did you mean 'deepchest'"),
        ({"weighter_option": ("cap",)}, "KEY=VALUE"),
        ({"backbone": "resnet19"}, "Unknown backbone"),
    ],
)
def test_what_does_not_fit_is_refused(config, change, message):
    with pytest.raises(UsageError, match=message):
        build_components(replace(config, **change))

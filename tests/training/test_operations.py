"""A step of the training loop asks for few operations beyond those of the network.

At small batches a GPU is bound by them: `tests/benchmarks/launches.py` shows which there are.
"""

import pytest
from operations import bare_step, by_part, whole_step

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components

# 11 of the input, of which 3 draw on the CPU; a loss with its gradient; sum of the weighter; record
MOST = {"input": 12, "loss": 14, "weighter": 5, "optimizer": 4, "EMA": 0, "record": 9, "other": 0}
BEYOND = 40  # the bare step: the same network with cross-entropy on inputs that are ready


def components_for(shards, backbone, weighter):
    config = TrainConfig(
        data=(str(shards),),
        backbone=backbone,
        weighter=weighter,
        image_size=32,
        batch_size=8,
        max_steps=3,
        weights="none",
        precision="fp32",
        device="cpu",
    )
    return build_components(config)


@pytest.mark.parametrize("weighter", ["equal", "deepchest"])
def test_a_step_has_few_operations_beyond_the_network(shards, tmp_path, weighter):
    components = components_for(shards, "small_cnn", weighter)
    whole, bare = whole_step(components, tmp_path), bare_step(components)
    found = by_part(whole)
    assert {part: number for part, number in found.items() if number > MOST.get(part, 1000)} == {}
    assert found["input"] and found["loss"] and found["record"] and found["optimizer"]
    assert 0 < sum(whole.values()) - sum(bare.values()) <= BEYOND


def test_batch_norms_together_count_in_one_operation(shards, tmp_path):
    """What they save is more than what the step adds, from 43 layers on; ResNet-18 has 20."""
    components = components_for(shards, "resnet18", "equal")
    whole, bare = by_part(whole_step(components, tmp_path)), by_part(bare_step(components))
    assert whole["model"] <= bare["model"] - 19

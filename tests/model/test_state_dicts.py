import re

import pytest
import torch
import torchvision
from torch import nn

from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.state_dicts import (
    copy_state,
    current_names,
    fingerprint,
    refuse_other_keys,
)


def test_names_of_older_densenets_are_brought_up_to_date():
    with torch.device("meta"):
        state = torchvision.models.densenet121(weights=None).state_dict()
    older = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in older
    assert list(current_names(older)) == list(state)


def test_names_of_older_vits_are_brought_up_to_date():
    with torch.device("meta"):
        state = torchvision.models.vit_b_32(weights=None).state_dict()
    older = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for key, value in state.items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_2.bias" in older
    assert list(current_names(older)) == list(state)


@pytest.mark.parametrize(
    "name", ["densenet121", "convnext_tiny", "efficientnet_b0", "maxvit_t", "swin_v2_t", "vit_b_32"]
)
def test_names_of_today_are_left_alone(name):
    with torch.device("meta"):
        state = torchvision.models.get_model(name, weights=None).state_dict()
    assert list(current_names(state)) == list(state)


def test_counters_of_batches_may_be_absent():
    network = nn.BatchNorm2d(2)
    network.num_batches_tracked.fill_(5)
    state = {k: v + 1 for k, v in network.state_dict().items() if "num" not in k}
    refuse_other_keys(network.state_dict(), state, "here", "norm")
    copy_state(network, state)
    assert network.running_mean.tolist() == [1, 1]
    assert network.num_batches_tracked == 5


def test_missing_unknown_and_misshapen_tensors_are_told_together():
    wanted = {"a": torch.ones(2), "b": torch.ones(3)}
    found = {"b": torch.ones(4), "c": torch.ones(1)}
    details = "missing: a; unknown: c; other shape: b is (4,) and not (3,)"
    with pytest.raises(DeepChestError, match=re.escape(details)):
        refuse_other_keys(wanted, found, "weights.pth", "resnet18")


def test_copying_keeps_the_networks_precision():
    network = nn.Linear(2, 1)
    copy_state(network, {"weight": torch.ones(1, 2, dtype=torch.float16)})
    assert network.weight.dtype == torch.float32
    assert network.weight.tolist() == [[1, 1]]
    assert network.weight.requires_grad


def test_a_fingerprint_is_of_names_and_values_and_of_nothing_else():
    weight = torch.arange(24.0).reshape(1, 2, 3, 4)
    plain = fingerprint({"a": weight, "count": torch.tensor(3)})
    assert plain == fingerprint(
        {"a": weight.to(memory_format=torch.channels_last), "count": torch.tensor(3)}
    )
    others = [{"b": weight, "count": torch.tensor(3)}, {"a": weight + 1, "count": torch.tensor(3)}]
    assert plain not in {fingerprint(other) for other in others}

import re

import pytest
import torch
import torchvision
from torch import nn

from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.state_dicts import (
    copy_state,
    current_names,
    find_state,
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


STATE = {
    name: torch.tensor(float(number))
    for number, name in enumerate(
        ["conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "fc.bias"]
    )
}


def behind(prefix, state):
    return {prefix + key: value for key, value in state.items()}


WRAPPED = {
    "DataParallel": lambda s: behind("module.", s),
    "torch.compile": lambda s: behind("_orig_mod.", s),
    "both": lambda s: behind("module._orig_mod.", s),
    "both, the other way": lambda s: behind("_orig_mod.module.", s),
    "a compiled part": lambda s: {
        k.replace("layer1.", "layer1._orig_mod."): v for k, v in s.items()
    },
    "a parallel part": lambda s: {k.replace("layer1.", "layer1.module."): v for k, v in s.items()},
    "FSDP": lambda s: behind("_fsdp_wrapped_module.", s),
    "state_dict": lambda s: {
        "state_dict": s,
        "epoch": 3,
        "optimizer": {"state": {0: s["bn1.bias"]}},
    },
    "Lightning": lambda s: {
        "state_dict": {**behind("model.", s), "loss_fn.pos_weight": torch.ones(14)},
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {},
    },
    "a compiled Lightning module": lambda s: {"state_dict": behind("model._orig_mod.", s)},
    "a named backbone": lambda s: {**behind("backbone.", s), "head.weight": torch.ones(14, 512)},
    "an encoder": lambda s: {"model": {**behind("encoder.", s), "projector.0.bias": torch.ones(3)}},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "net": lambda s: {"net": behind("module.", s), "acc": 0.9},
    "nested": lambda s: {"checkpoint": {"model": {"state_dict": s}}},
    "a running average": lambda s: {"n_averaged": torch.tensor(3), **behind("module.", s)},
    "MoCo": lambda s: {
        "state_dict": {**behind("module.encoder_q.", s), "module.queue": torch.ones(128, 9)}
    },
    "DINO": lambda s: {"student": behind("module.backbone.", s), "teacher": behind("backbone.", s)},
}


@pytest.mark.parametrize("program", WRAPPED)
def test_tensors_are_found_in_what_other_programs_save(program):
    assert find_state(WRAPPED[program](STATE), STATE) == STATE


@pytest.mark.parametrize("place", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_taken_before_others(place):
    averaged = {name: value + 1 for name, value in STATE.items()}
    assert find_state({"state_dict": STATE, place: averaged}, STATE) == averaged


def test_what_fits_most_is_taken():
    half = dict(list(STATE.items())[:3])
    assert find_state({"state_dict_ema": half, "state_dict": STATE}, STATE) == STATE


def test_other_tensors_of_the_same_network_are_kept_to_be_refused():
    deeper = {**STATE, "layer1.2.conv1.weight": torch.zeros(1)}
    assert find_state({"state_dict": behind("module.", deeper)}, STATE) == deeper


@pytest.mark.parametrize("content", [{}, {"a": 1}, [STATE], None, {"state": {0: torch.ones(1)}}])
def test_nothing_is_found_where_no_tensor_has_a_name(content):
    assert find_state(content, STATE) == {}


def test_weights_of_a_chexnet_reproduction_are_found():
    """From DataParallel around a module that holds the network, by torchvision 0.2's names."""
    with torch.device("meta"):
        state = torchvision.models.densenet121(weights=None).state_dict()
    older = {
        "module.densenet121."
        + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key): value
        for key, value in state.items()
        if "num_batches" not in key
    }
    found = find_state({"epoch": 1, "state_dict": older}, state)
    assert set(state) - set(found) == {key for key in state if "num_batches" in key}


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

from dataclasses import replace

import pytest
import torch
from killing import differences
from torch import nn
from torch.optim.swa_utils import AveragedModel

from deepchest_cli.config import TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.optimization import (
    MovingAverage,
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


def rates_of(model, config):
    """Return the learning rate and the weight decay of each parameter, by its name."""
    optimizer = build_optimizer(model, LearnedWeighter(["a"]), config)
    set_learning_rate(optimizer, config.learning_rate)
    names = {id(value): name for name, value in model.named_parameters()}
    return {
        names.get(id(value), "weighter"): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for value in group["params"]
    }


def test_the_rate_decays_from_layer_to_layer_below_the_head():
    model = Classifier(Architecture("vit_b_32", "mlp", ("a", "b"), 32, 32))
    found = rates_of(model, replace(CONFIG, layer_decay=0.5))
    assert found.keys() == {*dict(model.named_parameters()), "weighter"}
    head = [name for name in found if name.startswith("head.")]
    assert len(head) == 4
    assert {found[name][0] for name in (*head, "weighter")} == {0.1}
    for block in range(12):  # as BEiT counts: the head has 13 layers below it, an embedding is one
        name = f"trunk.encoder.layers.encoder_layer_{block}.mlp.0"
        assert found[f"{name}.weight"] == pytest.approx((0.1 * 0.5 ** (12 - block), 0.01))
        assert found[f"{name}.bias"] == pytest.approx((0.1 * 0.5 ** (12 - block), 0))
    for name in ("conv_proj.weight", "class_token", "encoder.pos_embedding"):
        assert found[f"trunk.{name}"][0] == pytest.approx(0.1 * 0.5**13)
    assert found["trunk.encoder.ln.weight"][0] == pytest.approx(0.05)  # with the last block


def test_ratios_of_the_rates_stay_and_the_first_is_that_of_the_head():
    model = Classifier(Architecture("small_cnn", "linear", ("a", "b"), 32, 32))
    optimizer = build_optimizer(model, EqualWeighter(["a"]), replace(CONFIG, layer_decay=0.9))
    for rate in (0.3, 0.02):
        set_learning_rate(optimizer, rate)
        found = [group["lr"] for group in optimizer.param_groups]
        assert found == pytest.approx([rate * 0.9 ** (n // 2) for n in range(10)])
        assert found[0] == rate
    assert any(model.head.weight is entry for entry in optimizer.param_groups[0]["params"])


def test_a_trunk_of_one_layer_has_none_to_tell_apart():
    model = nn.Module()
    model.add_module("trunk", nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(UsageError, match="has no layers to tell apart"):
        build_optimizer(model, EqualWeighter(["a"]), replace(CONFIG, layer_decay=0.9))


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch14_reg4_dinov2",
        "eva02_tiny_patch14_224",
        "swin_tiny_patch4_window7_224",
        "swinv2_tiny_window8_256",
        "beit_base_patch16_224",
        "coatnet_0_rw_224",
        "levit_128s",
        "mvitv2_tiny",
        "twins_svt_small",
        "crossvit_tiny_240",
        "tnt_s_legacy_patch16_224",
        "hiera_tiny_224",
    ],
)
def test_what_timm_does_not_decay_does_not_decay(name):
    timm = pytest.importorskip("timm")
    model = nn.Module()
    with torch.device("meta"):
        model.add_module("trunk", timm.create_model(name, num_classes=0))
    named = dict(model.named_parameters())
    spared = {f"trunk.{key}" for key in model.trunk.no_weight_decay()} & named.keys()
    assert spared
    found = rates_of(model, CONFIG)
    assert not any(found[key][1] for key in spared)
    decaying = {key for key, (_, decay) in found.items() if decay}
    assert {key for key in named.keys() - spared if named[key].ndim > 1} <= decaying


@pytest.mark.parametrize("kind", ["Dinov2WithRegisters", "DINOv3ViT", "Swin", "Beit", "DeiT"])
def test_positions_and_tokens_of_transformers_do_not_decay(kind):
    transformers = pytest.importorskip("transformers")
    model = nn.Module()
    settings = {"use_relative_position_bias": True} if kind == "Beit" else {}
    with torch.device("meta"):
        config = getattr(transformers, f"{kind}Config")(**settings)
        model.add_module("trunk", getattr(transformers, f"{kind}Model")(config))
    found = rates_of(model, CONFIG)
    decaying = {key for key, (_, decay) in found.items() if decay}
    # all that is left are weights of linear layers and of convolutions
    kinds = (nn.Linear, nn.Conv2d)
    weights = {f"{n}.weight" for n, module in model.named_modules() if isinstance(module, kinds)}
    assert decaying == weights


@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_vectors_and_learned_weights_do_not_decay(name):
    weighter = LearnedWeighter(["a"])
    optimizer = build_optimizer(nn.Linear(2, 3), weighter, replace(CONFIG, optimizer=name))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(weighter.learned)] == 0
    assert sorted(decay.values()) == [0, 0, CONFIG.weight_decay]


def test_the_average_follows_its_recurrence():
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, decay=0.5)
    seen, expected = [1.0, 2.0, 4.0, -3.0], 1.0
    for count, value in enumerate(seen):
        model.weight.data.fill_(value)
        average.update()
        if count:
            decay = min(0.5, (1 + count) / (10 + count))
            expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_the_average_has_the_latest_batch_norm_statistics():
    model = nn.BatchNorm1d(1)
    average = MovingAverage(model, 0.9)
    for value in (1.0, 5.0):
        model.running_mean.fill_(value)
        model.num_batches_tracked.fill_(int(value))
        average.update()
    assert average.module.running_mean.item() == 5
    assert average.module.num_batches_tracked.item() == 5


def torchs_average(model, decay):
    """The same average by torch's own class, which wrote the checkpoints of earlier runs."""

    def update(averages, latest, updates):
        count = int(updates)
        torch._foreach_lerp_(averages, latest, 1 - min(decay, (1 + count) / (10 + count)))

    return AveragedModel(model, multi_avg_fn=update)


def test_the_average_is_torchs_to_the_last_bit_and_goes_on_from_its_checkpoint():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(4, 2).double())
    theirs, ours = torchs_average(model, 0.8), MovingAverage(model, 0.8)

    def train(*averages):
        for _ in range(20):
            for value in (*model.parameters(), *model.buffers()):
                value.data.copy_(value + (torch.randn(value.shape) if value.ndim else 1))
            for average in averages:
                average()

    train(lambda: theirs.update_parameters(model), ours.update)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert differences(dict(theirs.state_dict()), ours.state_dict()) == []
    resumed = MovingAverage(model, 0.8)
    resumed.load_state_dict(theirs.state_dict())
    train(lambda: theirs.update_parameters(model), resumed.update)
    assert differences(dict(theirs.state_dict()), resumed.state_dict()) == []

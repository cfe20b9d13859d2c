from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from trunk_shapes import trunk_of

from deepchest_cli.model.layers import layers_of

# the number of layers: the stem, and each residual block, transformer block or dense layer
TORCHVISION = {
    "small_cnn": (28, 4, "10"),
    "alexnet": (64, 7, "classifier.4"),
    "vgg11_bn": (32, 10, "classifier.3"),
    "resnet18": (32, 9, "layer4.1"),
    "densenet121": (32, 59, "features.denseblock4.denselayer16"),
    "efficientnet_b0": (32, 17, "features.7"),
    "convnext_tiny": (32, 19, "features.7.2"),
    "vit_b_32": (32, 13, "encoder.layers.encoder_layer_11"),
    "swin_t": (32, 13, "features.7.1"),
    "mobilenet_v2": (32, 18, "features.17"),
    "mobilenet_v3_small": (32, 12, "features.11"),
    "squeezenet1_1": (32, 9, "features.12"),
    "shufflenet_v2_x0_5": (32, 17, "stage4.3"),
    "regnet_y_400mf": (32, 17, "trunk_output.block4.block4-5"),
    "inception_v3": (75, 12, "Mixed_7c"),
    "googlenet": (32, 10, "inception5b"),
    "maxvit_t": (224, 12, "blocks.3.layers.1"),
}
# as many as timm's own groups, or fewer: the last norm is not a layer of its own, and neither are
# convolutions that stand alone
TIMM = {
    "vit_tiny_patch16_224": 0,
    "vit_small_patch14_reg4_dinov2": 0,
    "swin_tiny_patch4_window7_224": 0,
    "resnet18": 0,
    "regnety_002": 0,
    "eva02_tiny_patch14_224": 1,
    "convnextv2_atto": 1,
    "tf_efficientnetv2_b0": 1,
    "densenet121": 1,
    "mobilenetv4_conv_small": 4,
    "coatnet_0_rw_224": None,  # timm groups whole stages
    "maxvit_tiny_tf_224": None,
    "vgg11": None,
    "nfnet_f0": 0,
    "levit_128s": None,
}


def assert_partition(trunk, layers):
    names = [name for layer in layers for name in layer.parameters]
    assert sorted(names) == sorted(name for name, _ in trunk.named_parameters())
    modules = [part for layer in layers for module in layer.modules for part in module.modules()]
    assert len({id(module) for module in modules}) == len(modules)
    # what is in no layer only holds others
    rest = {id(module) for module in trunk.modules()} - {id(module) for module in modules}
    inner = [module for module in trunk.modules() if id(module) in rest]
    assert all(next(module.children(), None) is not None for module in inner)


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_family_has_its_blocks_as_layers_in_the_order_of_computation(name):
    size, count, last = TORCHVISION[name]
    trunk = trunk_of(name, size)[0].eval()
    layers = layers_of(trunk)
    assert_partition(trunk, layers)
    assert len(layers) == count
    assert layers[-1].name == last
    called = []
    for number, layer in enumerate(layers):
        for module in layer.modules:
            module.register_forward_hook(lambda *_, n=number: called.append(n))
    with torch.inference_mode():
        trunk(torch.zeros(1, 1, size, size))
    assert called == sorted(called)
    assert set(called) == set(range(count))


def test_a_stem_is_a_layer_and_the_last_norm_is_not():
    trunk, _ = trunk_of("vit_b_32", 32)
    first, second, *_, last = layers_of(trunk)
    embedding = ("class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding")
    assert (first.parameters, first.block) == (embedding, None)
    assert second.block is trunk.encoder.layers[0]
    assert last.parameters[-2:] == ("encoder.ln.weight", "encoder.ln.bias")
    assert layers_of(trunk_of("resnet18", 32)[0])[0].name == "conv1"


def test_what_begins_a_stage_belongs_to_its_first_block():
    trunk, _ = trunk_of("swin_t", 32)
    named = {layer.name: layer.parameters for layer in layers_of(trunk)}
    assert "features.2.reduction.weight" in named["features.3.0"]


def test_a_network_without_repetition_is_cut_at_its_matrices():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    net.append(nn.Conv2d(4, 4, 3)).append(nn.Flatten()).append(nn.Linear(4, 2))
    found = [layer.parameters for layer in layers_of(net)]
    assert found == [
        ("0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"),
        ("4.weight", "4.bias"),
        ("6.weight", "6.bias"),
    ]
    assert_partition(net, layers_of(net))
    assert len(layers_of(nn.Linear(2, 2))) == 1


def test_a_shared_parameter_is_in_the_first_of_its_layers():
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(3))
    blocks[2][0].weight = blocks[0][0].weight
    layers = layers_of(blocks)
    assert_partition(blocks, layers)
    assert [len(layer.parameters) for layer in layers] == [4, 4, 3]


@pytest.mark.parametrize("name", TIMM)
def test_timms_own_groups_are_kept_together_and_in_order(name):
    timm = pytest.importorskip("timm")
    from timm.models import group_parameters

    with torch.device("meta"):
        trunk = timm.create_model(name, num_classes=0)
    layers = layers_of(trunk)
    assert_partition(trunk, layers)
    groups = group_parameters(trunk, trunk.group_matcher())
    number_of = {name: number for number, names in groups.items() for name in names}
    numbers = [[number_of[name] for name in layer.parameters] for layer in layers]
    for earlier, later in pairwise(numbers):
        assert max(earlier) <= min(later)
    if TIMM[name] is not None:
        assert len(groups) - len(layers) == TIMM[name]


@pytest.mark.parametrize(
    ("kind", "settings", "last"),
    [
        ("Dinov2", {"num_hidden_layers": 3}, "encoder.layer.2"),
        ("Dinov2WithRegisters", {"num_hidden_layers": 3}, "encoder.layer.2"),
        ("DINOv3ViT", {"num_hidden_layers": 3}, ".layer.2"),
        ("ViT", {"num_hidden_layers": 3}, "layers.2"),
        ("ConvNext", {"depths": [1, 1, 2, 1]}, "encoder.stages.3"),
        ("Swin", {"depths": [2, 2]}, "encoder.layers.1.blocks.1"),
    ],
)
def test_models_of_transformers_have_a_layer_for_the_embedding_and_for_each_block(
    kind, settings, last
):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**settings)
    with torch.device("meta"):
        trunk = getattr(transformers, f"{kind}Model")(config)
    layers = layers_of(trunk)
    assert_partition(trunk, layers)
    assert layers[-1].name.endswith(last)
    assert len(layers) == {"ConvNext": 6, "Swin": 5}.get(kind, 4)
    assert all("embeddings" in name for name in layers[0].parameters)


def test_a_wrapped_network_has_the_same_layers():
    wrapped = nn.Module()
    wrapped.add_module("network", torchvision.models.resnet18())
    plain = layers_of(torchvision.models.resnet18())
    assert [layer.name for layer in layers_of(wrapped)] == [f"network.{one.name}" for one in plain]

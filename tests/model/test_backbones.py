import subprocess
import sys

import pytest
import torch
import torchvision
from torch import nn
from torchvision.ops import StochasticDepth
from trunk_shapes import shapes_only, trunk_of

from deepchest_cli.config.flags import PACKAGES
from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.registry import (
    ALIASES,
    SOURCES,
    backbone_names,
    describe_backbone,
    resolve_backbone,
)
from deepchest_cli.model.backbones.small_cnn import build_small_cnn
from deepchest_cli.model.trunk import build_trunk

FAMILIES = [
    ("squeezenet1_1", 32, 512),
    ("shufflenet_v2_x0_5", 32, 1024),
    ("inception_v3", 75, 2048),
    ("swin_t", 64, 768),
    ("small_cnn", 28, 512),
]


@pytest.mark.parametrize(("name", "size", "width"), FAMILIES)
def test_every_family_maps_one_channel_to_features_and_trains(name, size, width):
    trunk, features = trunk_of(name, size)
    found = trunk.train()(torch.rand(2, 1, size, size))
    assert found.shape == (2, width) == (2, features)
    found.sum().backward()
    assert all(parameter.grad is not None for parameter in trunk.parameters())


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "swin_t"])
def test_a_one_channel_trunk_is_the_same_function_on_gray(name):
    """The whole network with three equal channels, against the trunk and the layer it lost."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    torch.manual_seed(0)
    trunk, _ = trunk_of(name, 64)
    gray = torch.rand(2, 1, 64, 64)
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.inference_mode():
        expected = network(gray.expand(-1, 3, -1, -1))
        assert torch.allclose(last(trunk.eval()(gray)), expected, rtol=1e-3, atol=1e-4)


def test_squeezenets_features_are_the_mean_of_its_last_map():
    torch.manual_seed(0)
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    torch.manual_seed(0)
    trunk, _ = trunk_of("squeezenet1_1", 64)
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = network.features(gray.expand(-1, 3, -1, -1)).mean(dim=(2, 3))
        assert torch.allclose(trunk.eval()(gray), expected, atol=1e-5)


def test_a_small_cnn_is_built_for_its_size():
    trunk, _ = trunk_of("small_cnn", 40)
    expected = build_small_cnn(40).state_dict()
    assert {k: v.shape for k, v in trunk.state_dict().items()} == {
        k: v.shape for k, v in expected.items()
    }


def test_all_of_torchvisions_classifiers_are_known():
    names = backbone_names()
    assert set(names) == {"small_cnn", *torchvision.models.list_models(module=torchvision.models)}
    assert len(names) > 70
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("cnn", "small_cnn"),
        ("vgg", "vgg16"),
        ("resnet", "resnet50"),
        ("efficientnet", "efficientnet_b0"),
        ("densenet", "densenet121"),
        ("mobilenet", "mobilenet_v2"),
        ("inception", "inception_v3"),
        ("vit", "vit_b_16"),
        ("swin", "swin_b"),
        ("resnet18", "resnet18"),
    ],
)
def test_a_family_stands_for_its_usual_member(alias, name):
    assert resolve_backbone(alias) == name


def test_every_alias_leads_to_a_backbone_and_hides_none():
    assert set(ALIASES.values()) <= set(backbone_names())
    assert not set(ALIASES) & set(backbone_names())


def test_a_trunk_may_be_built_by_its_alias():
    _, features = shapes_only("mobilenet", 32)
    assert features == 1280


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet-50", "resnet50"), ("densnet", "densenet"), ("smallcnn", "small_cnn")],
)
def test_a_misspelled_backbone_suggests_the_nearest(name, nearest):
    with pytest.raises(UsageError, match=f"Unknown backbone '{name}'. Did you mean '{nearest}'"):
        trunk_of(name, 64)


def test_a_size_that_patches_do_not_fit_is_refused():
    with pytest.raises(UsageError, match="vit_b_32 does not take radiographs of 50 px") as error:
        trunk_of("vit_b_32", 50)
    assert "--image-size 64 (or 32)" in error.value.hint


@pytest.mark.parametrize("size", [28, 29, 31, 64, 100])
def test_any_size_gives_the_small_cnn_512_features_that_can_be_trained(size):
    network = build_small_cnn(size)
    features = network(torch.rand(2, 1, size, size))
    assert features.shape == (2, 512)
    features.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_the_small_cnn_is_three_convolutions_and_one_layer_without_norm_or_dropout():
    network = build_small_cnn(64)
    convolutions = [m for m in network if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size) for m in convolutions] == [
        (32, (3, 3)),
        (64, (3, 3)),
        (128, (3, 3)),
    ]
    kinds = {type(module) for module in network}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear}


def test_the_small_cnn_sees_each_radiograph_alone():
    torch.manual_seed(0)
    network, radiographs = build_small_cnn(32), torch.rand(3, 1, 32, 32)
    together = network(radiographs)
    alone = torch.cat([network(one[None]) for one in radiographs])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


@pytest.mark.parametrize("name", ["swin_t", "convnext_tiny", "efficientnet_b0", "maxvit_t"])
def test_a_rate_of_stochastic_depth_is_that_of_the_last_block_and_grows_to_it(name):
    with torch.device("meta"):
        trunk, _ = build_trunk(describe_backbone(name, 224), drop_path=0.4)
    rates = [m.p for m in trunk.modules() if isinstance(m, StochasticDepth)]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["resnet18", "vit_b_32", "small_cnn"])
def test_stochastic_depth_of_a_backbone_without_it_is_refused(name):
    with torch.device("meta"), pytest.raises(UsageError, match=f"{name} has no stochastic depth"):
        build_trunk(describe_backbone(name, 64), drop_path=0.1)


EXTRAS = {"timm", "transformers", "huggingface_hub", "torchxrayvision"}
TRAIN = """
import sys
from deepchest_cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code
print(" ".join(sys.modules))
"""


def test_packages_of_other_sources_are_not_imported_to_train(shards, tmp_path):
    flags = ["--data", shards, "--backbone", "small_cnn", "--max-steps", "1", "--out"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, "train", *flags, tmp_path / "run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not EXTRAS & set(done.stdout.split())


def test_the_command_line_knows_the_sources_without_importing_them():
    assert set(PACKAGES) == set(SOURCES)

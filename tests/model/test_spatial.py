"""The last map or grid of tokens of a network is found by what its modules return."""

import pytest
import torch
from torch import nn

from deepchest_cli.errors import UsageError
from deepchest_cli.model.attribution import attribution_maps
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.spatial import coarse_note, spatial_layer

SIDE, PATCH, WIDTH = 6, 8, 16
SIZE = SIDE * PATCH


def around(trunk, size=SIZE):
    """Return a classifier of two findings around a trunk, in evaluation mode."""
    torch.manual_seed(0)
    classifier = Classifier(Architecture("small_cnn", "linear", ("a", "b"), size, size))
    classifier.trunk = trunk.eval()
    with torch.inference_mode():
        width = trunk(torch.rand(1, 1, size, size)).shape[1]
    classifier.width = width
    classifier.head = nn.Linear(width, 2)
    return classifier.eval()


def build(backbone, size):
    torch.manual_seed(0)
    return Classifier(Architecture(backbone, "linear", ("a", "b"), size, size)).eval()


def radiograph_of(size=SIZE):
    return torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(1))


def map_of(classifier, layer):
    """Return what raises and what lowers the first logit for a radiograph: (2, h, w)."""
    weight = classifier.task_layer.weight.data
    weight[1] = -weight[0]
    radiographs = radiograph_of(classifier.architecture.image_size).repeat(2, 1, 1, 1)
    return attribution_maps(classifier, radiographs, torch.tensor([0, 1]), layer).grad_cam


class Looking(nn.Module):
    """A block in which the first token looks at one other token and at nothing else."""

    def __init__(self, at):
        super().__init__()
        self.at, self.value = at, nn.Linear(WIDTH, WIDTH)

    def forward(self, tokens):
        seen = self.value(tokens)[:, self.at]
        return torch.cat([tokens[:, :1] + seen[:, None], tokens[:, 1:]], dim=1)


class Transformer(nn.Module):
    """Patch tokens after some others, blocks that keep them apart, and one token as features."""

    def __init__(self, before=0, after=0, block=None, read=0, order=None):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, WIDTH, PATCH, PATCH)
        self.before = nn.Parameter(torch.randn(1, before, WIDTH))
        self.after = nn.Parameter(torch.randn(1, after, WIDTH))
        self.blocks = nn.Sequential(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()))
        if block is not None:
            self.blocks.append(block)
        self.norm = nn.LayerNorm(WIDTH)
        self.read, self.order = read, order

    def forward(self, images):
        tokens = self.patches(images).flatten(2).mT
        tokens = tokens if self.order is None else tokens[:, self.order]
        before, after = (one.expand(len(images), -1, -1) for one in (self.before, self.after))
        return self.norm(self.blocks(torch.cat([before, tokens, after], dim=1)))[:, self.read]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (5, 0), (0, 1)])
@pytest.mark.parametrize("patch", [0, 8, 35])
def test_what_rests_on_one_patch_has_its_map_there_alone(before, after, patch):
    classifier = around(Transformer(before, after, read=before + patch))
    layer = spatial_layer(classifier)
    assert (layer.name, layer.first, layer.cells) == ("norm", before, (SIDE, SIDE))
    found = map_of(classifier, layer).sum(dim=0)
    assert found.argmax() == patch
    assert (found > 0).sum() == 1


@pytest.mark.parametrize("patch", [0, 8, 35])
def test_of_a_class_token_the_map_is_what_enters_the_last_attention(patch):
    classifier = around(Transformer(before=2, block=Looking(at=2 + patch)))
    layer = spatial_layer(classifier)
    assert (layer.name, layer.entering, layer.first) == ("blocks.1", True, 2)
    found = map_of(classifier, layer).sum(dim=0)
    assert found.argmax() == patch
    assert (found > 0).sum() == 1


def test_tokens_in_another_order_are_refused_with_the_reason():
    columns = torch.arange(SIDE**2).reshape(SIDE, SIDE).T.flatten()
    with pytest.raises(UsageError, match="36 tokens are no square of patches, row by row"):
        spatial_layer(around(Transformer(order=columns)))


def test_a_network_that_keeps_no_places_is_refused_with_the_reason():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, WIDTH), nn.ReLU())
    with pytest.raises(UsageError, match="'small_cnn' has no feature map.*no map of more than one"):
        spatial_layer(around(flat))


def test_tokens_that_nothing_rests_on_are_passed_over():
    """Attention pooling leaves tokens whose features are not used; the map lies before it."""

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.map, self.last = nn.Conv2d(1, WIDTH, PATCH, PATCH), nn.LayerNorm(WIDTH)

        def forward(self, images):
            tokens = self.map(images).flatten(2).mT
            return self.last(torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1))[:, 0]

    layer = spatial_layer(around(Pooled()))
    assert (layer.name, layer.layout) == ("map", "channels first")


@pytest.mark.parametrize("wrap", [lambda one: (one, None), lambda one: {"last_hidden_state": one}])
def test_a_tensor_is_found_in_tuples_and_mappings(wrap):
    class Wrapping(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(1, WIDTH, PATCH, PATCH)

        def forward(self, images):
            return wrap(self.inner(images).relu())

    class Trunk(nn.Module):
        def __init__(self):
            super().__init__()
            self.wrapping = Wrapping()

        def forward(self, images):
            found = self.wrapping(images)
            return next(iter(found.values() if isinstance(found, dict) else found)).mean((2, 3))

    classifier = around(Trunk())
    layer = spatial_layer(classifier)
    assert (layer.name, layer.layout) == ("wrapping", "channels first")
    assert map_of(classifier, layer).any()


def test_a_map_is_found_where_the_last_is_a_point():
    assert spatial_layer(build("resnet18", 32)).name.startswith("layer3")
    swin = build("swin_t", 32)
    layer = spatial_layer(swin)
    assert (layer.layout, layer.cells) == ("channels last", (2, 2))
    assert map_of(swin, layer).shape == (2, 2, 2)


def test_the_vision_transformer_of_torchvision_has_a_map():
    classifier = build("vit_b_16", 96)
    layer = spatial_layer(classifier)
    assert (layer.name.rpartition(".")[2], layer.entering) == ("self_attention", True)
    assert (layer.first, layer.cells) == (1, (6, 6))
    assert map_of(classifier, layer).any()


TIMM = {  # name: size, settings, layout, cells, place of the first patch
    "vit_tiny_patch16_224": (96, {}, "tokens", 6, 1),
    "vit_small_patch14_reg4_dinov2": (28, {"depth": 2}, "tokens", 2, 5),  # 9 tokens
    "vit_small_patch16_dinov3": (64, {"depth": 2}, "tokens", 4, 5),
    "eva02_tiny_patch14_224": (56, {"depth": 2}, "tokens", 4, 1),
    "swin_tiny_patch4_window7_224": (64, {}, "channels last", 2, 0),
    "convnextv2_atto": (64, {}, "channels first", 2, 0),
    "coatnet_nano_rw_224": (64, {}, "channels first", 2, 0),
    "mixer_s32_224": (224, {}, "tokens", 7, 0),
}


@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm_have_maps(name):
    timm = pytest.importorskip("timm")
    size, settings, layout, side, first = TIMM[name]
    fixed = {} if name.startswith("convnext") else {"img_size": size}
    trunk = timm.create_model(name, num_classes=0, in_chans=1, **fixed, **settings)
    classifier = around(trunk, size)
    layer = spatial_layer(classifier)
    assert (layer.layout, layer.cells, layer.first) == (layout, (side, side), first)
    assert map_of(classifier, layer).any()


@pytest.mark.parametrize("pool", ["class", "mean", "pooler_output"])
@pytest.mark.parametrize(
    ("name", "first"), [("ViT", 1), ("Dinov2", 1), ("Dinov2WithRegisters", 5), ("Swin", 0)]
)
def test_networks_of_transformers_have_maps(name, first, pool):
    transformers = pytest.importorskip("transformers")

    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            shape = {"image_size": 48, "patch_size": 8, "num_channels": 1, "hidden_size": WIDTH}
            layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
            if name == "Swin":
                shape = {"image_size": 96, "patch_size": 8, "num_channels": 1, "embed_dim": WIDTH}
                layers = {"depths": [1, 2], "num_heads": [2, 2], "window_size": 3}
            config = getattr(transformers, f"{name}Config")(**shape, **layers)
            self.network = getattr(transformers, f"{name}Model")(config)

        def forward(self, images):
            found = self.network(pixel_values=images)
            if pool == "pooler_output":
                return found.pooler_output
            tokens = found.last_hidden_state
            return tokens[:, first:].mean(dim=1) if pool == "mean" else tokens[:, 0]

    torch.manual_seed(0)
    classifier = around(Pooled(), 96 if name == "Swin" else 48)
    layer = spatial_layer(classifier)
    assert (layer.layout, layer.first, layer.cells) == ("tokens", first, (SIDE, SIDE))
    assert layer.entering == (first > 0 and pool != "mean")
    assert map_of(classifier, layer).any()


def test_few_cells_are_said_to_be_too_coarse():
    assert "4 by 4 cells are too coarse" in coarse_note((4, 4))
    assert coarse_note((5, 5)) == ""

import re

import pytest
import torchvision
from trunk_shapes import shapes_only, try_size

from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.registry import backbone_names, describe_backbone
from deepchest_cli.model.backbones.torchvision_models import RULES, size_rule
from deepchest_cli.model.sizes import SizeRule

NAMES = backbone_names()
BOUND = [name for name in NAMES if name.startswith(("vit_", "maxvit"))]  # built for one size
PICKY = [name for name in NAMES if size_rule(name) != SizeRule() and name not in BOUND]
# one of each rule, and of those without one; tests/slow tries every backbone
EACH_RULE = [next(name for name in NAMES if name.startswith(start)) for start in RULES]
SMALL = ("convnext_tiny", "mobilenet_v2", "resnet18", "shufflenet_v2_x0_5", "swin_t", "vit_b_32")


def taken(name, size):
    """Return the size itself, or the nearest one that the error names."""
    try:
        describe_backbone(name, size)
    except UsageError as error:
        return int(re.match(r"Use --image-size (\d+)", error.hint)[1])
    return size


@pytest.mark.parametrize("name", sorted({*EACH_RULE, *SMALL}))
def test_a_backbone_takes_the_smallest_size_that_it_names(name):
    try_size(name, taken(name, 28), taken(name, 28))


@pytest.mark.parametrize("name", SMALL)
def test_the_sizes_named_for_larger_radiographs_are_taken(name):
    for size in (taken(name, 100), taken(name, 200)):
        try_size(name, size, size)


@pytest.mark.parametrize("name", [name for name in EACH_RULE if name in PICKY])
def test_one_pixel_less_than_the_smallest_size_fails(name):
    least = size_rule(name).least
    with pytest.raises(RuntimeError, match="too small|can't be greater"):
        try_size(name, least, least - 1)


@pytest.mark.parametrize("name", BOUND)
@pytest.mark.parametrize("size", [30, 100, 220, 225])
def test_a_refused_size_cannot_even_be_built(name, size, monkeypatch):
    assert taken(name, size) != size
    monkeypatch.setattr(SizeRule, "refuse", lambda *_: None)
    with pytest.raises((AssertionError, ValueError), match="indivisible|not divisible"):
        shapes_only(name, size)


@pytest.mark.parametrize("size", [221, 223, 445])
def test_strided_layers_pad_maxvit_to_its_partitions(size):
    shapes_only("maxvit_t", size)


@pytest.mark.parametrize(
    ("name", "size", "hint"),
    [
        ("vit_b_16", 100, "Use --image-size 96 (or 112)."),
        ("vit_b_16", 110, "Use --image-size 112 (or 96)."),
        ("vit_b_32", 30, "Use --image-size 32 (or 64)."),
        ("maxvit_t", 128, "Use --image-size 224 (or 448)."),
        ("maxvit_t", 400, "Use --image-size 448 (or 224)."),
        ("inception_v3", 64, "Use --image-size 75 or more."),
        ("resnet50", 20, "Use --image-size 28 or more."),
    ],
)
def test_a_refusal_names_the_nearest_sizes(name, size, hint):
    with pytest.raises(UsageError) as error:
        describe_backbone(name, size)
    assert error.value.message == f"{name} does not take radiographs of {size} px."
    assert error.value.hint == hint


@pytest.mark.parametrize("name", NAMES)
def test_both_named_sizes_are_taken_themselves(name):
    rule = size_rule(name)
    for size in range(1, 1025):
        near, other = rule.nearest(size)
        assert rule.fits(size) or (rule.fits(near) and rule.fits(other))


def test_every_rule_is_some_backbones():
    assert all(any(name.startswith(start) for name in NAMES) for start in RULES)
    patches = {name for name in torchvision.models.list_models() if name.startswith("vit_")}
    assert patches <= set(RULES)

"""Every backbone takes the smallest size that is named for it, and nothing below."""

import pytest
from trunk_shapes import try_size

from deepchest_cli.model.backbones.registry import backbone_names
from deepchest_cli.model.backbones.torchvision_models import size_rule
from deepchest_cli.model.sizes import SizeRule

NAMES = backbone_names()
BOUND = ("vit_", "maxvit")  # built for one size
PICKY = [n for n in NAMES if size_rule(n) != SizeRule() and not n.startswith(BOUND)]


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_takes_the_smallest_size_that_it_names(name):
    rule = size_rule(name)
    size = 28 if rule.fits(28) else rule.nearest(28)[0]
    try_size(name, size, size)


@pytest.mark.parametrize("name", PICKY)
def test_one_pixel_less_than_the_smallest_size_fails(name):
    least = size_rule(name).least
    with pytest.raises(RuntimeError, match="too small|can't be greater"):
        try_size(name, least, least - 1)

"""A baseline that trains on any machine: three stages of convolution and a layer of 512."""

from itertools import pairwise

from torch import nn

from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    BackboneSource,
    BackboneSpec,
    no_drop_path,
    refuse_pooling,
)
from deepchest_cli.model.sizes import SizeRule

SMALL_CNN = "small_cnn"
CHANNELS, FEATURES = (1, 32, 64, 128), 512


class SmallCnnSource(BackboneSource):
    """The one network of our own."""

    def resolve(self, name: str) -> str:
        """Return the name."""
        return SMALL_CNN

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description; it takes every size from the smallest on."""
        refuse_pooling(name, pool)
        SizeRule().refuse(name, image_size)
        return BackboneSpec(name, image_size)

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return the network and its 512 features."""
        if drop_path:
            raise no_drop_path(SMALL_CNN)
        return build_small_cnn(spec.image_size), FEATURES


def build_small_cnn(image_size: int) -> nn.Sequential:
    """Return three stages of convolution, ReLU and pooling, and a layer of 512 features.

    Maps (B, 1, S, S) to (B, 512) at the one size S, at least 8 px, that it is built for.
    """
    stages: list[nn.Module] = []
    for before, after in pairwise(CHANNELS):
        stages += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    side = image_size // 2 ** (len(CHANNELS) - 1)
    hidden = nn.Linear(CHANNELS[-1] * side**2, FEATURES)
    return nn.Sequential(*stages, nn.Flatten(), hidden, nn.ReLU())

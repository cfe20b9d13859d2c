"""A small convolutional network: a baseline that trains on any machine."""

from itertools import pairwise

from torch import nn

CHANNELS = (1, 32, 64, 128)
FEATURES = 512
HALVINGS = len(CHANNELS) - 1


def build_small_cnn(image_size: int) -> nn.Sequential:
    """Return three stages of convolution, ReLU and pooling, and a layer of 512 features.

    Maps (B, 1, S, S) to (B, 512) at the one size S, at least 8 px, that it is built for.
    """
    stages: list[nn.Module] = []
    for before, after in pairwise(CHANNELS):
        stages += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    cells = (image_size // 2**HALVINGS) ** 2
    widen = nn.Linear(CHANNELS[-1] * cells, FEATURES)
    return nn.Sequential(*stages, nn.Flatten(), widen, nn.ReLU())

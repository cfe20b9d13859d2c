import pytest
import torch
from torch import nn

from deepchest_cli.model.small_cnn import build_small_cnn


@pytest.mark.parametrize("size", [28, 29, 31, 64, 100])
def test_any_size_gives_512_features_that_can_be_trained(size):
    network = build_small_cnn(size)
    features = network(torch.rand(2, 1, size, size))
    assert features.shape == (2, 512)
    features.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_it_is_three_convolutions_and_one_layer_without_norm_or_dropout():
    network = build_small_cnn(64)
    convolutions = [m for m in network if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size) for m in convolutions] == [
        (32, (3, 3)),
        (64, (3, 3)),
        (128, (3, 3)),
    ]
    kinds = {type(module) for module in network}
    assert kinds == {nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, nn.Linear}


def test_each_radiograph_is_seen_alone():
    torch.manual_seed(0)
    network, radiographs = build_small_cnn(32), torch.rand(3, 1, 32, 32)
    together = network(radiographs)
    alone = torch.cat([network(one[None]) for one in radiographs])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-4)

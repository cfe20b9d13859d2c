"""A gradient weighter in a training loop of one's own."""

import pytest
import torch
from gradients_problems import GRADIENT, build
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from deepchest_cli.weighting import GradientWeighter, TaskLosses, backward


class Weighted(GradientWeighter):
    """A given weight for each task's gradient, and another for its own parameters."""

    def __init__(self, weights, own):
        super().__init__(["a", "b", "c"])
        self.given, self.own = torch.tensor(weights), torch.tensor(own)

    @property
    def weights(self):
        return self.given

    @property
    def head_weights(self):
        return self.own

    def forward(self, losses, jacobian):
        return self.given @ jacobian


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 3)


def losses_of(network, known):
    trunk, head = network
    chance = torch.Generator().manual_seed(1)
    inputs = torch.randn(8, 6, generator=chance)
    labels = (torch.rand(8, 3, generator=chance) < 0.5).float()
    features = trunk(inputs)
    each = binary_cross_entropy_with_logits(head(features), labels, reduction="none")
    counts = known.sum(dim=0)
    return TaskLosses((each * known).sum(dim=0) / counts.clamp(min=1), counts), features


@pytest.fixture(params=[False, True])
def known(request):
    known = torch.ones(8, 3)
    if request.param:
        known[2:5, 0] = 0
        known[:, 1] = 0
    return known


def gradients_of(network):
    return [parameter.grad for module in network for parameter in module.parameters()]


def test_the_plain_sum_is_plain_back_propagation(network, known):
    losses, features = losses_of(network, known)
    backward(Weighted([1.0] * 3, [1.0] * 3), losses, features)
    found = gradients_of(network)
    for module in network:
        module.zero_grad()
    losses_of(network, known)[0].values.sum().backward()
    for one, expected in zip(found, gradients_of(network), strict=True):
        assert torch.allclose(one, expected, rtol=1e-5, atol=1e-7)


def test_trunk_and_heads_have_weights_of_their_own(network, known):
    trunk, head = network
    losses, features = losses_of(network, known)
    backward(Weighted([0.5, 2.0, -1.0], [3.0, 1.0, 0.0]), losses, features)
    found = gradients_of(network)
    values = losses_of(network, known)[0].values
    parameters = [list(trunk.parameters()), list(head.parameters())]
    weights = [torch.tensor([0.5, 2.0, -1.0]), torch.tensor([3.0, 1.0, 0.0])]
    expected = [
        gradient
        for w, own in zip(weights, parameters, strict=True)
        for gradient in torch.autograd.grad((w * values).sum(), own, retain_graph=True)
    ]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", GRADIENT)
def test_every_method_trains_a_network(name, network, known):
    trunk, head = network
    optimizer = torch.optim.SGD([*trunk.parameters(), *head.parameters()], lr=0.5)
    weighter = build(name, ["a", "b", "c"])
    means = []
    for _ in range(30):
        losses, features = losses_of(network, known)
        optimizer.zero_grad()
        backward(weighter, losses, features)
        optimizer.step()
        means.append(losses.values.sum().item())
    assert means[-1] < 0.9 * means[0]

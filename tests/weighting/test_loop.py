"""What is back-propagated in a training loop of one's own, and a second look at a batch."""

import pytest
import torch
from gradients_problems import GRADIENT, build
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import (
    GradientWeighter,
    TaskLosses,
    build_weighter,
    objective,
    task_losses,
    undisturbed,
)


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
    objective(Weighted([1.0] * 3, [1.0] * 3), losses, features).backward()
    found = gradients_of(network)
    for module in network:
        module.zero_grad()
    losses_of(network, known)[0].values.sum().backward()
    for one, expected in zip(found, gradients_of(network), strict=True):
        assert torch.allclose(one, expected, rtol=1e-5, atol=1e-7)


def test_trunk_and_heads_have_weights_of_their_own(network, known):
    trunk, head = network
    losses, features = losses_of(network, known)
    objective(Weighted([0.5, 2.0, -1.0], [3.0, 1.0, 0.0]), losses, features).backward()
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
        objective(weighter, losses, features).backward()
        optimizer.step()
        means.append(losses.values.sum().item())
    assert means[-1] < 0.9 * means[0]


def test_a_loss_weighter_has_its_own_objective(network, known):
    losses, _ = losses_of(network, known)
    weighter = build_weighter("fixed", ["a", "b", "c"], {"weights": "a:1,b:2,c:3"})
    assert objective(weighter, losses).item() == weighter(losses).item()


def test_a_scaled_objective_has_scaled_gradients(network, known):
    """As with loss scaling, and with gradient accumulation."""
    found = []
    for scale in (1.0, 0.25):
        losses, features = losses_of(network, known)
        for module in network:
            module.zero_grad()
        total = objective(Weighted([0.5, 2.0, -1.0], [3.0, 1.0, 0.0]), losses, features)
        (scale * total).backward()
        found.append([gradient.clone() for gradient in gradients_of(network)])
    for whole, quarter in zip(*found, strict=True):
        assert torch.equal(whole / 4, quarter)


def test_an_objective_that_is_not_used_changes_no_other_backward_pass(network, known):
    losses, features = losses_of(network, known)
    objective(Weighted([0.5, 2.0, -1.0], [3.0, 1.0, 0.0]), losses, features)
    losses.values.sum().backward()
    found = [gradient.clone() for gradient in gradients_of(network)]
    for module in network:
        module.zero_grad()
    losses_of(network, known)[0].values.sum().backward()
    assert all(map(torch.equal, found, gradients_of(network)))


@pytest.mark.parametrize(
    ("name", "with_graph", "said"),
    [
        ("upgrad", None, "UPGradWeighter needs the gradients of the features, and none were given"),
        ("upgrad", False, "those given have no graph"),
        ("equal", True, "3 losses were given to a weighter of 2 tasks"),
    ],
)
def test_what_has_no_objective_is_refused(network, known, name, with_graph, said):
    losses, features = losses_of(network, known)
    given = {None: None, False: features.detach(), True: features}[with_graph]
    tasks = ["a", "b"] if with_graph else ["a", "b", "c"]
    with pytest.raises(UsageError, match=said):
        objective(build_weighter(name, tasks), losses, given)


def test_a_second_look_leaves_no_trace():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    inputs, labels = torch.randn(8, 4), torch.ones(8, 3)
    model(inputs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    again = undisturbed(model)(lambda: task_losses(model(inputs), labels))
    for _ in range(2):  # it can be called as often as a method likes
        assert not again().values.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training

"""GradNorm against steps worked by hand, Adam written out, and on a problem with a known end."""

import math

import pytest
import torch
from gradients_problems import build, losses_of, rows

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.gradients.gradnorm import GradNormWeighter

TASKS = ["a", "b", "c"]
# losses, and the lengths of the gradients, of each step
STEPS = [
    ([0.7, 0.6, 0.8], [1.0, 0.2, 3.0]),
    ([0.6, 0.59, 0.5], [0.9, 0.2, 2.0]),
    ([0.5, 0.61, 0.3], [0.8, 0.3, 1.0]),
    ([0.5, 0.5, 0.2], [0.8, 0.25, 0.5]),
]


def by_hand(rate, alpha):
    """Return the weights after each step: the rule and Adam on plain lists."""
    w, mean, square = [1.0] * 3, [0.0] * 3, [0.0] * 3
    start, found = STEPS[0][0], []
    for number, (losses, norms) in enumerate(STEPS, start=1):
        scaled = [w[i] * norms[i] for i in range(3)]
        rates = [losses[i] / start[i] for i in range(3)]
        relative = [value / (sum(rates) / 3) for value in rates]
        for i in range(3):
            target = sum(scaled) / 3 * relative[i] ** alpha
            slope = norms[i] * math.copysign(1, scaled[i] - target)
            mean[i] = 0.9 * mean[i] + 0.1 * slope
            square[i] = 0.999 * square[i] + 0.001 * slope**2
            corrected = math.sqrt(square[i] / (1 - 0.999**number))
            w[i] -= rate * mean[i] / (1 - 0.9**number) / (corrected + 1e-8)
        w = [3 * value / sum(w) for value in w]
        found.append(list(w))
    return found


@pytest.mark.parametrize(("rate", "alpha"), [(0.025, 1.5), (0.1, 0.12), (0.025, 0.0)])
def test_steps_worked_by_hand(rate, alpha):
    weighter = GradNormWeighter(TASKS, rate, alpha)
    for (losses, norms), expected in zip(STEPS, by_hand(rate, alpha), strict=True):
        before = weighter.weights
        jacobian = torch.diag(torch.tensor(norms, dtype=torch.float64))
        given = TaskLosses(torch.tensor(losses, dtype=torch.float64), torch.tensor([4, 4, 4]))
        direction = weighter(given, jacobian)
        assert torch.equal(direction, before @ jacobian)  # with the weights of the steps before
        assert weighter.weights.tolist() == pytest.approx(expected, rel=1e-7)


def fitted(alpha, scales, steps=900, speeds=(1.0, 1.0)):
    """Minimize scale_i |x - target_i|^2 / 2 for two tasks, each with an x of its own.

    The gradients' lengths are then scale_i |x - target_i|. Returns the weighter.
    """
    weighter = GradNormWeighter(["a", "b"], learning_rate=0.01, alpha=alpha)
    for step in range(steps):
        left = [math.exp(-speed * step / steps) for speed in speeds]
        losses = [scale * rest for scale, rest in zip(scales, left, strict=True)]
        weighter(losses_of(losses), torch.diag(torch.tensor(scales)))
    return weighter


@pytest.mark.parametrize("scales", [(1.0, 4.0), (0.2, 0.1), (1.0, 1.0)])
def test_gradient_norms_are_balanced(scales):
    """Without a pull on slow tasks, w_i |g_i| become equal: w_i is 2 / |g_i| over the sum."""
    weights = fitted(0.0, scales).weights.tolist()
    inverse = [1 / scale for scale in scales]
    assert weights == pytest.approx([2 * part / sum(inverse) for part in inverse], abs=0.03)


def test_a_task_that_learns_slowly_is_pulled_up():
    """With alpha 1 the norms end as the inverse training rates: here as e^-1 to e^-2."""
    slow, fast = fitted(1.0, (1.0, 1.0), speeds=(1.0, 2.0)).weights.tolist()
    assert slow / fast == pytest.approx(math.e, rel=0.1)


def test_gradient_norms_are_balanced_in_training():
    """A shared layer, and two tasks of which one has a gradient a hundred times the other's."""
    torch.manual_seed(0)
    shared = torch.nn.Linear(8, 4)
    heads = [torch.nn.Linear(4, 1) for _ in range(2)]
    modules = torch.nn.ModuleList([shared, *heads])
    optimizer = torch.optim.SGD(modules.parameters(), lr=1e-4)
    weighter = GradNormWeighter(["a", "b"], alpha=0.0)
    inputs, targets = torch.randn(64, 8), torch.randn(2, 64, 1)
    for _ in range(600):
        features = shared(inputs)
        pairs = zip(heads, targets, (1.0, 100.0), strict=True)
        losses = [f * ((head(features) - target) ** 2).mean() for head, target, f in pairs]
        weights = weighter.weights
        gradients = [torch.autograd.grad(x, shared.weight, retain_graph=True)[0] for x in losses]
        jacobian = torch.stack([gradient.flatten() for gradient in gradients])
        optimizer.zero_grad()
        sum(w.float() * loss for w, loss in zip(weights, losses, strict=True)).backward()
        optimizer.step()
        weighter(TaskLosses(torch.stack(losses).detach(), torch.tensor([64, 64])), jacobian)
    norms = weights * jacobian.norm(dim=1)
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=0.1)
    assert jacobian[1].norm() > 10 * jacobian[0].norm()


def test_a_task_begins_when_it_is_first_seen():
    weighter = GradNormWeighter(["a", "b"])
    weighter(losses_of([0.5, 0.0], [4, 0]), rows([1, 0], [0, 0]))
    assert weighter.first.isnan().tolist() == [False, True]
    weighter(losses_of([0.4, 0.3]), rows([1, 0], [0, 1]))
    assert weighter.first.tolist() == pytest.approx([0.5, 0.3])


def test_no_weight_falls_to_nothing():
    weighter = GradNormWeighter(["a", "b"], learning_rate=5.0)
    for _ in range(5):
        weighter(losses_of([0.5, 0.5]), rows([1, 0], [0, 1e-3]))
    assert (weighter.weights > 0).all()
    assert weighter.weights.sum().item() == pytest.approx(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "'learning_rate' of gradnorm should be above 0. Found 0.0"),
        ({"learning_rate": "nan"}, "above 0. Found nan"),
        ({"alpha": -1}, "'alpha' of gradnorm should be 0 or above. Found -1.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        build("gradnorm", **options)

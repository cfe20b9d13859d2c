"""What single weighters of task gradients promise, beside the shared properties of all."""

import pytest
import torch
from gradients_problems import LOSSES, NAMES, build, conflicting, losses_of

from deepchest_cli.weighting.gradients.base import gramian_of
from deepchest_cli.weighting.gradients.property_checks import without_gradient
from deepchest_cli.weighting.trial import Trial

RANDOM = ("pcgrad", "gradvac", "graddrop")
DIAGONAL = torch.diag(torch.tensor([0.5, 0.1, 2.0, 1.0]))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def lived(name, epochs=2):
    """Return a weighter that has lived through some epochs of a run."""
    trial = Trial(name)
    return trial.live(trial.build(), epochs=epochs)


def test_only_a_mask_of_signs_has_no_weights(name):
    assert (lived(name).weights is None) == name.endswith("graddrop")


def test_what_is_remembered_shows(name):
    has_state = any(word in name for word in ("gradnorm", "gradvac", "excess", "deepchest"))
    one, two = (lived(name, epochs)(losses_of(LOSSES), conflicting()) for epochs in (1, 2))
    assert not has_state or not torch.equal(one, two)


def test_a_jacobian_that_comes_with_a_graph_is_taken(name):
    direction = build(name)(losses_of(LOSSES), conflicting().requires_grad_())
    assert not direction.requires_grad


def test_the_share_of_a_task_without_gradient_stays_with_it():
    for _, with_it, without_it in without_gradient(Trial("excess-mtl")):
        assert with_it.tolist() == pytest.approx((without_it * 3 / 4).tolist(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(RANDOM)])
def test_what_is_drawn_follows_from_the_seed(name):
    # many conflicts, so that an order shows
    jacobian = torch.randn(8, 12, generator=torch.Generator().manual_seed(2))
    tasks = [str(number) for number in range(8)]
    one, same, other = (
        build(name, tasks, seed=s)(losses_of([0.5] * 8), jacobian) for s in (3, 3, 4)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_heads_learn_from_their_own_losses(name):
    weighter = lived(name)
    own = weighter.head_weights
    if name.startswith("deepchest+"):
        assert own.tolist() == weighter.deepchest.weights.tolist() != [1] * 4
    elif name == "gradnorm":
        assert own.tolist() == weighter.weights.tolist() != [1] * 4
    else:
        assert own.tolist() == [1] * 4


def test_deepchest_above_a_method_weighs_the_gradients():
    above, plain = lived("deepchest+pcgrad"), build("pcgrad")
    weights = above.deepchest.weights.float()
    direction = above(losses_of(LOSSES), DIAGONAL)
    assert direction.tolist() == pytest.approx((weights * DIAGONAL.diagonal()).tolist())
    expected = plain(losses_of(LOSSES), weights[:, None] * DIAGONAL)
    assert torch.equal(direction, expected)
    assert above.weights.tolist() == pytest.approx(weights.tolist())


@pytest.mark.parametrize("columns", [100, 2**18, 2**18 + 1, 2**18 + 2**13 + 77])
def test_products_of_gradients_of_any_size(columns):
    jacobian = torch.randn(3, columns, generator=torch.Generator().manual_seed(0))
    jacobian *= torch.tensor([1.0, 1e-4, 30.0])[:, None]
    exact = jacobian.double() @ jacobian.double().T
    lengths = exact.diagonal().sqrt()
    mask = torch.tensor([True, False, True])
    found, present = gramian_of(jacobian, mask)
    assert ((found - exact) / lengths / lengths[:, None]).abs().max() < 1e-7
    assert torch.equal(present, mask)

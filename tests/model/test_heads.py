import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepchest_cli.errors import UsageError
from deepchest_cli.model.heads import HEADS, BranchLinear, build_head, take_over_head

B, D, T = 5, 16, 4


@pytest.fixture
def features():
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def stitched():
    torch.manual_seed(0)
    return build_head("cross-stitch", D, T)


def separate(head):
    """Set every mixture to the identity."""
    with torch.no_grad():
        for stitch in head.stitches:
            stitch.alpha.copy_(torch.eye(len(stitch.alpha)))
    return head


def touched(head, features, finding):
    """Return, for each layer, the branches that one finding's logit has a gradient for."""
    head.zero_grad()
    head(features)[:, finding].sum().backward()
    layers = [*head.hidden, head.logits]
    return [
        {t for t in range(T) if layer.weight.grad[t].any() or layer.bias.grad[t].any()}
        for layer in layers
    ]


def by_loops(head, features):
    """Compute the logits as the paper writes them, a branch at a time."""
    branches = [features] * T
    for layer, stitch in zip(head.hidden, head.stitches, strict=True):
        own = [F.relu(F.linear(x, layer.weight[t], layer.bias[t])) for t, x in enumerate(branches)]
        branches = [sum(stitch.alpha[t, s] * own[s] for s in range(T)) for t in range(T)]
    logits = [
        F.linear(x, head.logits.weight[t], head.logits.bias[t]) for t, x in enumerate(branches)
    ]
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("findings", [1, 2, 14])
def test_every_head_gives_one_logit_a_finding(name, findings, features):
    head = build_head(name, D, findings)
    assert head(features).shape == (B, findings)
    head(features).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize("name", HEADS)
def test_a_head_comes_back_from_its_state(name, features):
    head, other = build_head(name, D, T), build_head(name, D, T)
    assert not torch.equal(head(features), other(features))
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(features), other(features))


def test_old_checkpoints_find_the_names_of_their_tensors():
    assert set(build_head("linear", D, T).state_dict()) == {"weight", "bias"}
    shapes = {key: tuple(v.shape) for key, v in build_head("mlp", D, T).state_dict().items()}
    assert shapes == {
        "0.weight": (512, D),
        "0.bias": (512,),
        "2.weight": (T, 512),
        "2.bias": (T,),
    }


def test_a_misspelled_head_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'cross-stitch'"):
        build_head("crossstitch", D, T)


def test_cross_stitch_is_what_the_paper_writes(stitched, features):
    assert torch.allclose(stitched(features), by_loops(stitched, features), atol=1e-6)


def test_an_uneven_mixture_keeps_its_direction(stitched, features):
    """Which branch receives from which: the transpose would be another network."""
    with torch.no_grad():
        for stitch in stitched.stitches:
            stitch.alpha.copy_(torch.rand(T, T))
    assert torch.allclose(stitched(features), by_loops(stitched, features), atol=1e-5)


def test_branches_begin_different(stitched, features):
    logits = separate(stitched)(features)
    assert (logits[:, :, None] - logits[:, None, :]).abs().amax(0).fill_diagonal_(1).min() > 1e-3


def test_mixtures_begin_near_the_identity(stitched):
    for stitch in stitched.stitches:
        assert torch.equal(stitch.alpha.diagonal(), torch.full((T,), 0.9))
        assert torch.allclose(stitch.alpha.sum(dim=1), torch.ones(T))
        assert stitch.alpha[0, 1:].unique().numel() == 1


def test_a_single_finding_has_nobody_to_mix_with():
    head = build_head("cross-stitch", D, 1)
    assert all(stitch.alpha.tolist() == [[1.0]] for stitch in head.stitches)


@pytest.mark.parametrize("finding", range(T))
def test_separate_branches_do_not_touch_each_other(stitched, features, finding):
    assert touched(separate(stitched), features, finding) == [{finding}] * 3


@pytest.mark.parametrize("finding", range(T))
def test_mixed_branches_learn_from_each_other(stitched, features, finding):
    everyone = set(range(T))
    assert touched(stitched, features, finding) == [everyone, everyone, {finding}]
    assert all(stitch.alpha.grad[finding].all() for stitch in stitched.stitches)


@pytest.mark.parametrize("finding", range(T))
def test_a_logit_depends_on_its_own_branch_most(stitched, features, finding):
    before = stitched(features)
    with torch.no_grad():
        for layer in (*stitched.hidden, stitched.logits):
            layer.weight[finding] = 0
    moved = (stitched(features) - before).abs().amax(dim=0)
    assert moved.argmax() == finding
    assert (moved > 0).all()


def test_a_branch_is_drawn_as_a_linear_layer_is():
    torch.manual_seed(0)
    many, one = BranchLinear(50, 64, 32), nn.Linear(64, 32)
    for name in ("weight", "bias"):
        drawn, expected = getattr(many, name).detach(), getattr(one, name).detach()
        assert drawn.abs().max() <= 64**-0.5
        assert drawn.std() == pytest.approx(expected.std().item(), rel=0.2)
        assert drawn.std() == pytest.approx((3 * 64) ** -0.5, rel=0.05)


OLD, NEW = ("Edema", "Mass", "Pleural Effusion"), ("Effusion", "Hernia", "Mass", "Nodule")


@pytest.mark.parametrize("kind", HEADS)
def test_a_saved_head_is_taken_over_by_the_names_of_findings(kind, features):
    """The logits of the shared findings are the saved ones, unless branches are mixed."""
    saved, head = build_head(kind, D, len(OLD)), build_head(kind, D, len(NEW))
    if kind == "cross-stitch":
        separate(saved), separate(head)
    assert take_over_head(head, NEW, saved.state_dict(), OLD) == ("Effusion", "Mass")
    found, expected = head(features), saved(features)
    assert torch.allclose(found[:, [0, 2]], expected[:, [2, 1]], atol=1e-6)
    assert not torch.allclose(found[:, 1], expected[:, 0], atol=1e-3)


def test_the_mixture_of_two_branches_is_taken_over_as_well():
    saved, head = build_head("cross-stitch", D, len(OLD)), build_head("cross-stitch", D, len(NEW))
    with torch.no_grad():
        saved.stitches[0].alpha.copy_(torch.arange(9.0).reshape(3, 3))
    take_over_head(head, NEW, saved.state_dict(), OLD)
    alpha = head.stitches[0].alpha
    assert alpha[[0, 0, 2, 2], [0, 2, 0, 2]].tolist() == [8, 7, 5, 4]
    assert alpha[1, 1].item() == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("kind", "width", "findings"),
    [("mlp", D, OLD), ("linear", D + 1, OLD), ("linear", D, ("Edema", "Fracture", "Cough"))],
)
def test_a_head_that_does_not_fit_is_left_as_it_was(kind, width, findings):
    head = build_head("linear", D, len(NEW))
    before = {key: value.clone() for key, value in head.state_dict().items()}
    assert take_over_head(head, NEW, build_head(kind, width, 3).state_dict(), findings) == ()
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())

"""What stands between this package and torchjd, and what happens when a solver fails."""

import importlib.util

import pytest
import torch
from gradients_problems import GRADIENT, LOSSES, build, conflicting, losses_of

from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint
from deepchest_cli.weighting import WEIGHTERS, Performance, build_weighter
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import AggregatedWeighter, SolvedWeighter

WITH_TORCHJD = [
    name
    for name in GRADIENT
    if issubclass(WEIGHTERS[name].factory, AggregatedWeighter)
    and WEIGHTERS[name].factory.uses_torchjd
]
SOLVED = [name for name in GRADIENT if issubclass(WEIGHTERS[name].factory, SolvedWeighter)]


@pytest.fixture
def missing(monkeypatch):
    """Let a package be not installed."""
    found = importlib.util.find_spec

    def hide(*packages):
        monkeypatch.setattr(adapter, "find_spec", lambda n: None if n in packages else found(n))

    return hide


def test_these_methods_are_torchjds():
    assert sorted(WITH_TORCHJD) == ["aligned-mtl", "gradvac", "pcgrad"]


@pytest.mark.parametrize("name", WITH_TORCHJD)
def test_without_the_extra_the_command_that_installs_it_is_named(name, missing):
    missing("torchjd")
    with pytest.raises(
        UsageError, match=f"'{name}' needs torchjd, which is not installed"
    ) as error:
        build(name)
    assert error.value.hint == install_hint("gradient")


@pytest.mark.parametrize("name", sorted(set(GRADIENT) - set(WITH_TORCHJD)))
def test_the_others_need_no_extra(name, missing):
    missing("torchjd")
    assert build(name)(losses_of(LOSSES), conflicting()).isfinite().all()


def test_another_version_of_torchjd_is_refused(monkeypatch):
    monkeypatch.setattr(adapter, "version", lambda package: "0.19.0")
    with pytest.raises(UsageError, match=r"needs torchjd 0.18.x. Found 0.19.0") as error:
        build("pcgrad")
    assert error.value.hint == install_hint("gradient")


@pytest.mark.parametrize("name", SOLVED)
@pytest.mark.parametrize("failure", ["error", "nan"])
def test_a_solver_that_fails_leaves_equal_weights_and_is_counted(name, failure, monkeypatch):
    weighter = build(name)

    def fail(*arguments):
        if failure == "error":
            raise ArithmeticError("no solution")
        return torch.full((3,), torch.nan)

    monkeypatch.setattr(weighter, "solve", fail)
    losses = losses_of([0.3, 0.0, 0.2, 0.5], [8, 0, 8, 8])
    jacobian = conflicting()
    jacobian[1] = 0
    for _ in range(2):
        direction = weighter(losses, jacobian)
    expected = jacobian.sum(dim=0) / (3 if weighter.equal_sum_to_one else 1)
    assert direction.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)
    assert (weighter.weights > 0).tolist() == [True, False, True, True]
    assert weighter.end_epoch(Performance()) == [
        f"The solver of {name} failed in 2 steps, which used equal weights."
    ]
    weighter(losses, jacobian)
    state = weighter.state_dict()
    again = build(name)
    again.load_state_dict(state)
    assert again.end_epoch(Performance()) == [
        f"The solver of {name} failed in 1 step, which used equal weights."
    ]
    assert again.end_epoch(Performance()) == []


def test_running_out_of_memory_is_no_failure_of_a_solver(monkeypatch):
    weighter = build("mgda")

    def fail(*arguments):
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(weighter, "weighted", fail)
    with pytest.raises(torch.OutOfMemoryError):
        weighter(losses_of(LOSSES), conflicting())


@pytest.mark.parametrize(
    ("name", "theirs", "options"),
    [
        ("upgrad", "UPGrad", {}),
        ("dualproj", "DualProj", {}),
        ("mgda", "MGDA", {"epsilon": 1e-5, "max_iters": 10_000}),  # by default it stops early
        ("cagrad", "CAGrad", {"c": 0.4}),
        ("imtl-g", "IMTLG", {}),
        ("aligned-mtl", "AlignedMTL", {}),
        ("config", "ConFIG", {}),
    ],
)
def test_directions_are_torchjds_where_its_thresholds_do_not_matter(name, theirs, options):
    """On gradients of about the same lengths, in double precision."""
    chance = torch.Generator().manual_seed(4)
    jacobian = torch.randn(4, 30, generator=chance, dtype=torch.float64)
    jacobian[1] -= jacobian[0]
    aggregation = pytest.importorskip("torchjd.aggregation")
    expected = getattr(aggregation, theirs)(**options)(jacobian)
    found = build(name)(losses_of(LOSSES), jacobian)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("name", ["upgrad", "dualproj", "cagrad"])
def test_gradients_as_short_as_those_of_features_are_not_lost(name):
    """torchjd by itself takes a jacobian below 0.01 for none: the mean, or a standstill."""
    jacobian = conflicting(1e-5)
    direction = build(name)(losses_of(LOSSES), jacobian)
    assert (jacobian @ jacobian.mean(dim=0)).min() < 0
    along = jacobian @ direction
    assert along.min() >= -1e-4 * along.abs().max() or name == "cagrad"
    assert direction.norm() > 0.1 * jacobian.mean(dim=0).norm()


def test_cagrad_takes_the_mean_where_no_direction_is_good_for_all():
    """Two opposed gradients, with c above 1: the worst case is a sum of nothing."""
    jacobian = torch.tensor([[3.0, 0.0], [-1.0, 0.0]])
    weighter = build_weighter("cagrad", ["a", "b"], {"c": "2"})
    direction = weighter(losses_of([0.5, 0.5]), jacobian)
    assert direction.tolist() == pytest.approx([1.0, 0.0])
    assert weighter.weights.tolist() == [0.5, 0.5]

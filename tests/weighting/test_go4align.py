"""GO4Align against its rule on plain lists, the groups found by trying every partition."""

import itertools
import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import TaskLosses
from deepchest_cli.weighting.go4align import Go4AlignWeighter, group_means

TASKS = ["a", "b", "c", "d"]
TRACE = [
    [0.7, 0.1, 2.0, 0.11],
    [0.6, 0.2, 1.5, 0.9],
    [0.5, 0.05, 1.8, 0.3],
    [0.9, 0.3, 0.01, 0.3],
]


def losses_of(values, known=None, dtype=torch.float64):
    values = torch.tensor(values, dtype=dtype, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [4] * len(values)))


def grouped(values, groups):
    """What `group_means` returns of numbers that are all present, as a list."""
    numbers = torch.tensor(values, dtype=torch.float64)
    return group_means(numbers, torch.ones_like(numbers, dtype=torch.bool), groups).tolist()


def all_partitions(values, groups):
    """Return the means under the assignment of least squared deviation, of all assignments."""
    best = None
    for assignment in itertools.product(range(groups), repeat=len(values)):
        members = {g: [v for v, h in zip(values, assignment, strict=True) if h == g]
                   for g in set(assignment)}  # fmt: skip
        means = {g: math.fsum(group) / len(group) for g, group in members.items()}
        deviation = sum((v - means[g]) ** 2 for v, g in zip(values, assignment, strict=True))
        if best is None or deviation < best[0]:
            best = deviation, [means[g] for g in assignment]
    return best[1]


def by_hand(trace, eta, groups, present):
    """The rule for shares that add up to 1 over the present tasks."""
    inside = [i for i, is_in in enumerate(present) if is_in]
    shares = {i: 1 / len(inside) for i in inside}
    found = []
    for losses in trace:
        shares = {i: shares[i] * math.exp(-eta * losses[i]) for i in inside}
        total = sum(shares.values())
        shares = {i: share / total for i, share in shares.items()}
        whole = sum(losses[i] for i in inside)
        means = all_partitions([whole / losses[i] * shares[i] for i in inside], groups)
        weights = [0.0] * len(losses)
        for i, mean in zip(inside, means, strict=True):
            weights[i] = mean
        found.append((sum(weights[i] * losses[i] for i in inside), weights))
    return found


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
@pytest.mark.parametrize("eta", [0.0, 1e-4, 0.5])
@pytest.mark.parametrize("known", [[4, 4, 4, 4], [4, 4, 0, 4]])
def test_the_trace_is_the_one_worked_by_hand(groups, eta, known):
    weighter = Go4AlignWeighter(TASKS, eta=eta, groups=groups)
    present = [count > 0 for count in known]
    for values, (objective, weights) in zip(
        TRACE, by_hand(TRACE, eta, groups, present), strict=True
    ):
        losses = losses_of(values, known)
        found = weighter(losses)
        found.backward()
        assert found.item() == pytest.approx(objective, rel=1e-12)
        assert weighter.weights.tolist() == pytest.approx(weights, rel=1e-12)
        assert losses.values.grad.tolist() == weighter.weights.tolist()


def test_figures_on_paper():
    """Losses 1, 1, 2, 4 with equal shares: u = 8 / (4 L) = 2, 2, 1, 1/2; the groups 2 and 3/4."""
    weighter = Go4AlignWeighter(TASKS, eta=0.0)
    assert weighter(losses_of([1.0, 1.0, 2.0, 4.0])).item() == 2 + 2 + 1.5 + 3
    assert weighter.weights.tolist() == pytest.approx([2.0, 2.0, 0.75, 0.75])


def test_equal_losses_have_equal_weights():
    weighter = Go4AlignWeighter(TASKS, groups=3)
    weighter(losses_of([0.3, 0.3, 0.3, 0.3]))
    assert weighter.weights.tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_the_groups_are_the_best_of_all(seed, groups):
    drawn = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = drawn.tolist()
    assert grouped(values, groups) == pytest.approx(all_partitions(values, groups))
    backwards = grouped(values[::-1], groups)[::-1]
    assert grouped(values, groups) == backwards


@pytest.mark.parametrize(
    ("values", "groups", "means"),
    [
        ([3.0], 2, [3.0]),
        ([5.0, 1.0, 5.5, 1.5, 9.0], 3, [5.25, 1.25, 5.25, 1.25, 9.0]),
        ([2.0, 2.0, 2.0], 2, [2.0, 2.0, 2.0]),
        ([1e13, 1.0, 1.1, 1e13], 2, [1e13, 1.05, 1.05, 1e13]),
    ],
)
def test_groups_on_paper(values, groups, means):
    assert grouped(values, groups) == pytest.approx(means)


def test_an_absent_task_keeps_its_share():
    weighter = Go4AlignWeighter(TASKS, eta=0.5)
    weighter(losses_of([0.7, 0.0, 2.0, 0.11], [4, 0, 4, 4]))
    shares = weighter.log_shares.exp()
    assert shares[1] == pytest.approx(0.25)
    assert shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("values", [[0.0, 1.0, 1e4, 1e-8], [1e4] * 4, [1e-8] * 4, [0.0] * 4])
@pytest.mark.parametrize("eta", [1e-4, 10.0])
def test_extremes_are_finite(values, eta):
    weighter = Go4AlignWeighter(TASKS, eta=eta)
    for _ in range(3):
        losses = losses_of(values, dtype=torch.float32)
        objective = weighter(losses)
        objective.backward()
        assert torch.isfinite(objective)
        assert torch.isfinite(losses.values.grad).all()


def test_without_any_task_nothing_happens():
    weighter, losses = Go4AlignWeighter(TASKS), losses_of([0.0] * 4, [0] * 4)
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == [0.0] * 4
    assert weighter.log_shares.exp().tolist() == pytest.approx([0.25] * 4)


def test_state_survives_in_the_middle_of_a_run(tmp_path):
    weighter, fresh = (Go4AlignWeighter(TASKS, eta=0.5) for _ in range(2))
    for values in TRACE[:2]:
        weighter(losses_of(values))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for values in TRACE[2:]:
        assert torch.equal(fresh(losses_of(values)), weighter(losses_of(values)))
        assert torch.equal(fresh.weights, weighter.weights)


def test_bad_options_are_refused():
    for eta in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'eta' of go4align should be 0 or above. Found"):
            Go4AlignWeighter(TASKS, eta=eta)
    for groups in (0, 5):
        with pytest.raises(UsageError, match=f"from 1 to the number of tasks, 4. Found {groups}"):
            Go4AlignWeighter(TASKS, groups=groups)

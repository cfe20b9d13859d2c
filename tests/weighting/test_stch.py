"""The smooth maximum against figures worked by hand, before and after the warm-up."""

import math

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context, Performance, TaskLosses
from deepchest_cli.weighting.stch import SmoothTchebycheff

TASKS = ["a", "b", "c"]
LOSSES = [0.3, 1.0, 0.2]
NADIR = [0.6, 0.5, 0.4]


def losses_of(values, known=None, dtype=torch.float32):
    values = torch.tensor(values, dtype=dtype, requires_grad=True)
    return TaskLosses(values, torch.tensor(known or [4] * len(values)))


def epoch(values):
    return Performance({"loss": torch.tensor(values, dtype=torch.float64)})


def warmed_up(nadir=NADIR, **options):
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=2, **options)
    assert weighter.end_epoch(epoch([9.0, 9.0, 9.0])) == []
    assert weighter.end_epoch(epoch(nadir)) == []
    return weighter


def by_hand(losses, nadir, mu, present):
    """Return objective and its derivatives, the exponentials taken one by one."""
    terms = {
        i: (losses[i] / nadir[i]) ** (1 / mu) for i, is_in in enumerate(present) if is_in
    }  # exp(log(L / n) / mu)
    total, number = sum(terms.values()), len(terms)
    weights = [
        number * terms[i] / total / losses[i] if i in terms else 0.0 for i in range(len(losses))
    ]
    return number * mu * math.log(total), weights


def test_the_warm_up_is_the_sum_of_logarithms():
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=2)
    for _ in range(2):
        losses = losses_of(LOSSES)
        objective = weighter(losses)
        objective.backward()
        assert objective.item() == pytest.approx(sum(math.log(loss) for loss in LOSSES))
        assert losses.values.grad.tolist() == pytest.approx([1 / loss for loss in LOSSES])
        assert weighter.weights.tolist() == losses.values.grad.tolist()
        weighter.end_epoch(epoch(NADIR))
    assert weighter(losses_of(NADIR)).item() == pytest.approx(3 * math.log(3))


@pytest.mark.parametrize("mu", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("known", [[4, 4, 4], [4, 0, 4], [0, 9, 0]])
def test_the_objective_is_the_one_worked_by_hand(mu, known):
    weighter = warmed_up(mu=mu)
    losses = losses_of(LOSSES, known, torch.float64)
    objective = weighter(losses)
    objective.backward()
    expected, weights = by_hand(LOSSES, NADIR, mu, [count > 0 for count in known])
    assert objective.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert losses.values.grad.tolist() == pytest.approx(weights, rel=1e-12)
    assert weighter.weights.tolist() == pytest.approx(weights, rel=1e-12)


def test_figures_on_paper():
    """l / mu = log 1/2, log 2, log 1/2: the sum is 3, the shares 1/6, 2/3, 1/6."""
    weighter = warmed_up()
    losses = losses_of(LOSSES)
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == pytest.approx(3 * math.log(3))
    assert losses.values.grad.tolist() == pytest.approx([0.5 / 0.3, 2.0, 0.5 / 0.2])


def test_later_epochs_leave_the_nadir_alone():
    weighter = warmed_up()
    weighter.end_epoch(epoch([7.0, 8.0, math.nan]))
    assert weighter.nadir.tolist() == NADIR


def test_an_undefined_nadir_is_one_and_is_said():
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=1)
    notes = weighter.end_epoch(epoch([0.6, math.nan, 0.4]))
    assert weighter.nadir.tolist() == [0.6, 1.0, 0.4]
    assert len(notes) == 1
    assert " b " in notes[0]


def test_without_a_warm_up_the_nadir_is_one():
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=0, context=Context(epochs=1))
    assert weighter(losses_of(LOSSES)).item() == pytest.approx(3 * math.log(1.5))


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("mu", [0.001, 1.0])
@pytest.mark.parametrize("values", [[0.0, 1.0, 1e4], [2e-8, 2e-8, 2e-8], [0.0, 0.0, 0.0]])
def test_extremes_are_finite(warm, mu, values):
    weighter = warmed_up([0.0, 1e4, 1.0], mu=mu) if warm else SmoothTchebycheff(TASKS, mu=mu)
    losses = losses_of(values)
    objective = weighter(losses)
    objective.backward()
    assert torch.isfinite(objective)
    assert torch.isfinite(losses.values.grad).all()
    assert weighter.weights.tolist() == pytest.approx(losses.values.grad.tolist(), rel=1e-5)


@pytest.mark.parametrize("warm", [True, False])
def test_without_any_task_nothing_happens(warm):
    weighter = warmed_up() if warm else SmoothTchebycheff(TASKS)
    losses = losses_of([0.0, 0.0, 0.0], [0, 0, 0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 0
    assert losses.values.grad.tolist() == [0.0, 0.0, 0.0]


def test_state_survives_in_the_middle_of_the_warm_up(tmp_path):
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=2)
    weighter.end_epoch(epoch([9.0, 9.0, 9.0]))
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = SmoothTchebycheff(TASKS, warmup_epochs=2)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for one in (weighter, fresh):
        assert one(losses_of(LOSSES)).item() == pytest.approx(math.log(0.06))
        one.end_epoch(epoch(NADIR))
        assert one(losses_of(LOSSES)).item() == pytest.approx(3 * math.log(3))
    torch.save(weighter.state_dict(), tmp_path / "later.pt")
    later = SmoothTchebycheff(TASKS, warmup_epochs=2)
    later.load_state_dict(torch.load(tmp_path / "later.pt", weights_only=True))
    assert torch.equal(later(losses_of(LOSSES)), weighter(losses_of(LOSSES)))


def test_the_callers_objects_are_not_changed():
    means = torch.tensor([0.0, math.nan, 0.4], dtype=torch.float64)
    weighter = SmoothTchebycheff(TASKS, warmup_epochs=1)
    weighter.end_epoch(Performance({"loss": means}))
    weighter.nadir.fill_(3.0)
    assert means[0] == 0
    assert means[1].isnan()


def test_bad_options_are_refused():
    for mu in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="'mu' of stch should be above 0. Found"):
            SmoothTchebycheff(TASKS, mu=mu)
    with pytest.raises(UsageError, match="'warmup_epochs' of stch should be 0 or above. Found -1"):
        SmoothTchebycheff(TASKS, warmup_epochs=-1)


@pytest.mark.parametrize("epochs", [3, 4])
def test_a_run_that_would_not_leave_the_warm_up_is_refused(epochs):
    with pytest.raises(UsageError, match=f"below the {epochs} epochs of the run") as error:
        SmoothTchebycheff(TASKS, context=Context(epochs=epochs))
    assert f"warmup_epochs to {epochs - 1} or less" in error.value.hint
    SmoothTchebycheff(TASKS, context=Context(epochs=5))

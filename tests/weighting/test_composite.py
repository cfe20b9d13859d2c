"""DeepChest on the losses, another weighter on the weighted losses."""

import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import DeepChestWeighter, EqualWeighter, Performance, TaskLosses
from deepchest_cli.weighting.base import PerStepWeighter
from deepchest_cli.weighting.composite import build_composite

TASKS = ("a", "b", "c")
ACCURACY = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
# after one epoch: the first below the mean, the second at it
W = [1.1, 1 / 1.05, 1 / 1.05]


class SquareWeighter(PerStepWeighter):
    """Half the sum of squares, so that the weights are the losses; records its calls."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.observed, self.recomputed, self.epochs = [], [], []

    def forward(self, losses):
        self.record(losses.values)
        return losses.values.square().sum() / 2

    def observe(self, logits, labels, known):
        self.observed.append(logits)

    def after_step(self, recompute):
        self.recomputed.append(recompute())

    def end_epoch(self, performance):
        self.epochs.append(performance)
        return ["from the other"]


def losses_of(*values):
    values = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    return TaskLosses(values, torch.tensor([4] * len(values)))


def after_an_epoch(name, other, **options):
    weighter = build_composite(DeepChestWeighter(TASKS, **options), name, other)
    weighter.end_epoch(Performance({"accuracy": ACCURACY}))
    return weighter


def test_the_objective_is_the_others_of_the_weighted_losses():
    weighter = after_an_epoch("square", SquareWeighter(TASKS))
    losses = losses_of(1.0, 2.0, 3.0)
    objective = weighter(losses)
    objective.backward()
    weighted = [w * loss for w, loss in zip(W, (1.0, 2.0, 3.0), strict=True)]
    assert objective.item() == pytest.approx(sum(x * x for x in weighted) / 2)
    derivative = [w * x for w, x in zip(W, weighted, strict=True)]
    assert losses.values.grad.tolist() == pytest.approx(derivative)
    assert weighter.weights.tolist() == pytest.approx(derivative)


def test_with_equal_weights_it_is_deepchest_alone():
    weighter, losses = after_an_epoch("equal", EqualWeighter(TASKS)), losses_of(1.0, 2.0, 3.0)
    assert weighter.weights.tolist() == W
    assert weighter(losses).item() == pytest.approx(weighter.deepchest(losses).item())


def test_the_weights_are_unknown_before_the_others_first_step():
    assert build_composite(DeepChestWeighter(TASKS), "x", SquareWeighter(TASKS)).weights is None


def test_both_are_shown_everything():
    other = SquareWeighter(TASKS)
    weighter = build_composite(DeepChestWeighter(TASKS, signal="auroc"), "square", other)
    logits, labels = torch.tensor([[1.0] * 3, [-1.0] * 3]), torch.tensor([[1.0] * 3, [0.0] * 3])
    weighter.observe(logits, labels, torch.ones(2, 3))
    performance = Performance({"accuracy": ACCURACY})
    assert weighter.end_epoch(performance) == ["from the other"]
    assert other.observed == [logits]
    assert other.epochs == [performance]
    assert weighter.deepchest.weights.tolist() == [1 / 1.05] * 3  # all AUROC are 1


def test_after_a_step_the_other_sees_the_weights_of_the_step():
    other = SquareWeighter(TASKS)
    weighter = build_composite(DeepChestWeighter(TASKS, every=1), "square", other)
    weighter.observe(torch.ones(1, 3), torch.tensor([[1.0, 1.0, 0.0]]), torch.ones(1, 3))
    weighter.after_step(lambda: losses_of(1.0, 2.0, 3.0))
    assert other.recomputed[0].values.tolist() == [1.0, 2.0, 3.0]
    assert weighter.deepchest.weights.tolist() == [1 / 1.05, 1 / 1.05, 1.1]


def test_it_is_additive_where_both_are():
    assert after_an_epoch("equal", EqualWeighter(TASKS)).additive
    assert not after_an_epoch("square", SquareWeighter(TASKS)).additive


def test_state_survives_a_save_and_a_load(tmp_path):
    weighter = after_an_epoch("equal", EqualWeighter(TASKS), signal="accuracy")
    torch.save(weighter.state_dict(), tmp_path / "state.pt")
    fresh = build_composite(DeepChestWeighter(TASKS), "equal", EqualWeighter(TASKS))
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.weights.tolist() == W


@pytest.mark.parametrize("name", ["scale-invariant", "gls", "inverse-loss", "famo"])
def test_methods_that_would_undo_the_weights_are_refused(name):
    with pytest.raises(UsageError, match="constant factors of the losses do not change"):
        build_composite(DeepChestWeighter(TASKS), name, EqualWeighter(TASKS))


def test_deepchest_twice_is_refused():
    with pytest.raises(UsageError, match="multiplied by themselves"):
        build_composite(DeepChestWeighter(TASKS), "deepchest", DeepChestWeighter(TASKS))

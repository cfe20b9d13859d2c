import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.fixed import FixedWeighter

TASKS = ("Atelectasis", "Hernia", "Mass")


def losses_of(values, known=(8, 8, 8)):
    return TaskLosses(torch.tensor(values, requires_grad=True), torch.tensor(known))


def test_the_objective_is_the_weighted_sum():
    weighter = FixedWeighter(TASKS, weights="Atelectasis:1, Hernia:3,Mass : 0.5")
    losses = losses_of([0.25, 0.5, 2.0])
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 2.75  # 1 * 0.25 + 3 * 0.5 + 0.5 * 2
    assert losses.values.grad.tolist() == [1.0, 3.0, 0.5]
    assert weighter.weights.tolist() == [1.0, 3.0, 0.5]


def test_a_file_does_as_well(tmp_path):
    path = tmp_path / "weights.toml"
    path.write_text("Mass = 0.5\nHernia = 3\nAtelectasis = 1")
    assert FixedWeighter(TASKS, file=str(path)).weights.tolist() == [1.0, 3.0, 0.5]


def test_an_absent_task_has_no_say():
    weighter = FixedWeighter(TASKS, weights="Atelectasis:1,Hernia:3,Mass:0.5")
    losses = losses_of([0.25, 0.0, 2.0], known=(8, 0, 8))
    objective = weighter(losses)
    objective.backward()
    assert objective.item() == 1.25
    assert losses.values.grad.tolist() == [1.0, 0.0, 0.5]


def test_state_outlives_what_was_given():
    weighter = FixedWeighter(TASKS, weights="Atelectasis:1,Hernia:3,Mass:0.5")
    other = FixedWeighter(TASKS, weights="Atelectasis:1,Hernia:1,Mass:1")
    other.load_state_dict(weighter.state_dict())
    assert other.weights.tolist() == [1.0, 3.0, 0.5]


def test_weights_handed_out_are_copies():
    weighter = FixedWeighter(["a"], weights="a:2")
    weighter.weights.zero_()
    assert weighter.weights.tolist() == [2.0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "Found neither"),
        ({"weights": "Atelectasis:1", "file": "weights.toml"}, "Found both"),
        ({"weights": "Atelectasis:1,Hernia:3"}, "^Option 'weights' of fixed .*Missing: Mass"),
        ({"weights": "Atelectasis:1,Hernai:3,Mass:1"}, "Did you mean 'Hernia'"),
        ({"weights": "Atelectasis:1,Hernia:3,Mass:-1"}, "weight of Mass .* Found -1.0"),
        ({"weights": "Atelectasis:1,Hernia:nan,Mass:1"}, "weight of Hernia"),
        ({"weights": "Atelectasis:1,Hernia:inf,Mass:1"}, "weight of Hernia"),
        ({"weights": "Atelectasis:0,Hernia:0,Mass:0"}, "above 0"),
        ({"weights": "Atelectasis:1,Hernia:3,Hernia:4,Mass:1"}, "Found 'Hernia' twice"),
        ({"weights": "Atelectasis,Hernia:3,Mass:1"}, "Found 'Atelectasis'"),
        ({"weights": "Atelectasis:1,Hernia:much,Mass:1"}, "Found 'Hernia:much'"),
        ({"weights": "Atelectasis:1,Hernia:3,Mass:1,"}, "Found ''"),
        ({"file": "no such file.toml"}, "no file of weights"),
    ],
)
def test_what_does_not_fit_is_refused(options, match):
    with pytest.raises(UsageError, match=match):
        FixedWeighter(TASKS, **options)

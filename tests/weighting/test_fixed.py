import pytest
import torch

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import TaskLosses
from deepchest_cli.weighting.fixed import FixedWeighter, check_weights, read_weights

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


def refused(values, match):
    with pytest.raises(UsageError, match=match) as error:
        check_weights(values, TASKS, "here")
    return error.value


def test_weights_come_in_the_order_of_the_tasks_in_double_precision():
    given = {"Mass": 0.1, "Atelectasis": 1, "Hernia": 0}
    weights = check_weights(given, TASKS, "here")
    assert weights.tolist() == [1.0, 0.0, 0.1]
    assert weights.dtype == torch.float64
    assert given == {"Mass": 0.1, "Atelectasis": 1, "Hernia": 0}


def test_what_is_missing_is_named():
    refused({"Hernia": 1}, r"^here should have a weight for every task.*: Atelectasis, Mass\.$")
    refused({}, "Missing: Atelectasis, Hernia, Mass")


def test_one_of_fourteen_missing_is_named():
    tasks = [f"task {i}" for i in range(14)]
    with pytest.raises(UsageError, match=r"Missing: task 5\.$"):
        check_weights({task: 1 for task in tasks if task != "task 5"}, tasks, "here")


def test_an_unknown_name_suggests_the_nearest():
    error = refused(
        {"Atelectasis": 1, "Hernai": 1, "Mass": 1},
        "^here: Unknown task 'Hernai'. Did you mean 'Hernia'",
    )
    assert "Atelectasis" in error.hint


@pytest.mark.parametrize(
    "value", [-1, -1e-9, float("nan"), float("inf"), True, "1", None, [1], 10**400]
)
def test_what_is_no_number_of_0_or_above_is_refused(value):
    refused({"Atelectasis": 1, "Hernia": value, "Mass": 1}, "^here: the weight of Hernia")


def test_zeros_only_are_refused():
    refused(dict.fromkeys(TASKS, 0), "above 0. Found none")


def test_a_file_is_a_table_of_task_and_number(tmp_path):
    path = tmp_path / "weights.toml"
    path.write_text('Hernia = 3\n"Atelectasis" = 0.5\nMass = 1e1\n')
    assert read_weights(path, TASKS).tolist() == [0.5, 3.0, 10.0]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Hernia: 3", "is not valid TOML"),
        ("Hernia = 3\nHernia = 4", "is not valid TOML"),
        ("Hernia = 3", "Missing: Atelectasis, Mass"),
        ("[weights]\nHernia = 3", "Unknown task 'weights'"),
        ("Atelectasis = 1\nHernia = nan\nMass = 1", "the weight of Hernia"),
    ],
)
def test_a_file_that_is_not_such_a_table_is_refused_by_name(tmp_path, text, match):
    path = tmp_path / "weights.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match) as error:
        read_weights(path, TASKS)
    assert str(path) in error.value.message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "weights.toml"
    path.write_bytes(b"\xff\xfa")
    with pytest.raises(UsageError, match="line 1: byte 0xff is not UTF-8"):
        read_weights(path, TASKS)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no file of weights"):
        read_weights(tmp_path / "none.toml", TASKS)
    with pytest.raises(UsageError, match="no file of weights"):
        read_weights(tmp_path, TASKS)

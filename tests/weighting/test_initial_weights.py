import math

import pytest
import torch

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting import Context, DeepChestWeighter
from deepchest_cli.weighting.initial_weights import initial_weights

TASKS = ("Mass", "Hernia")
HEADER = "epoch,best,validation_accuracy,validation_accuracy/Hernia,validation_accuracy/Mass"


def begin(initial, tasks=TASKS, prevalence=None):
    return initial_weights(initial, tasks, Context(prevalence=prevalence)).tolist()


@pytest.mark.parametrize(("initial", "expected"), [("ones", 1), (2, 2), ("0.5", 0.5), (1.25, 1.25)])
def test_one_weight_for_all(initial, expected):
    weights = initial_weights(initial, TASKS, Context())
    assert weights.tolist() == [expected] * 2
    assert weights.dtype == torch.float64


def test_half_the_prevalence_is_added():
    assert begin("prevalence", prevalence=torch.tensor([0.5, math.nan])) == [1.25, 1.0]
    with pytest.raises(UsageError, match="need the training labels' prevalence"):
        begin("prevalence")


def test_the_authors_values_go_by_name():
    assert begin("authors-cnn") == [1.02655, 1.00055]
    assert begin("authors-resnet") == [1.025, 1.00055]
    assert begin("authors-cnn", ["Infiltration"]) == [1.0878]
    assert sum(begin("authors-resnet", FINDINGS)) == pytest.approx(14.2429)
    with pytest.raises(UsageError, match="authors' table for: Fracture, Pneumonitis"):
        begin("authors-cnn", ["Fracture", "Mass", "Pneumonitis"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1,1,.5,.9,.2", "2,1,.5,.96,.5", "3,0,.5,.1,.1"], [1.25, 1.02]),  # the last best
        (["1,0,.5,.9,.2", "2,0,.5,.8,.6"], [1.2, 1.1]),  # none is marked: the last
    ],
)
def test_single_task_accuracies(tmp_path, rows, expected):
    (tmp_path / "metrics.csv").write_text("\n".join([HEADER, *rows]))
    assert begin(f"single-task:{tmp_path / 'metrics.csv'}") == pytest.approx(expected)


def test_rows_of_single_data_sets_are_passed_over(tmp_path):
    rows = ["1,1,.5,.9,.2,all", "1,1,.5,.1,,site-1", "1,1,.5,,.3,site-2"]
    (tmp_path / "metrics.csv").write_text("\n".join([f"{HEADER},source", *rows]))
    assert begin(f"single-task:{tmp_path / 'metrics.csv'}") == pytest.approx([1.4, 1.05])


def test_a_table_without_the_column_best_counts_by_its_last_row(tmp_path):
    text = "validation_accuracy/Mass,validation_accuracy/Hernia\n.2,.4\n.4,.8\n"
    (tmp_path / "metrics.csv").write_text(text)
    assert begin(f"single-task:{tmp_path / 'metrics.csv'}") == pytest.approx([1.3, 1.1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER}\n1,1,.5,,.2\n", "metrics.csv for: Hernia"),
        (f"{HEADER}\n1,1,.5,nan,nan\n", "metrics.csv for: Mass, Hernia"),
        (f"{HEADER}\n1,1,.5,98,.9\n", "from 0 to 1. Found 98.0 of Hernia"),
        (f"{HEADER}\n1,1,.5,high,.9\n", "no table of epochs"),
        (HEADER, "no table of epochs: it has no row"),
        ("", "no table of epochs: it has no row"),
        (f"{HEADER}\n1,1,.5,.9\n", "metrics.csv for: Mass"),
        (f"{HEADER}\n1,1,.5,.9,inf,.1,.2\n", "from 0 to 1. Found inf of Mass"),
        (None, "no table of epochs"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        begin(f"single-task:{tmp_path / 'metrics.csv'}")


def test_a_file_of_weights(tmp_path):
    (tmp_path / "weights.toml").write_text("Hernia = 2\nMass = 0.5\n")
    assert begin(str(tmp_path / "weights.toml")) == [0.5, 2.0]
    (tmp_path / "weights.toml").write_text("Hernia = 2\n")
    with pytest.raises(UsageError, match="Mass"):
        begin(str(tmp_path / "weights.toml"))


@pytest.mark.parametrize("initial", [-1.0, "0", "nan", "inf"])
def test_a_number_out_of_range_is_refused(initial):
    with pytest.raises(UsageError, match="'initial' of deepchest should be above 0"):
        begin(initial)


def test_a_misspelled_word_suggests_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'prevalence'") as error:
        begin("prevalense")
    assert "single-task:PATH" in error.value.hint


def test_the_weighter_begins_with_them():
    context = Context(prevalence=torch.tensor([0.5, 0.1]))
    weighter = DeepChestWeighter(TASKS, initial="prevalence", context=context)
    assert weighter.weights.tolist() == pytest.approx([1.25, 1.05])

import numpy as np
import pandas as pd
import pytest

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.base import OwnSplits, Source, blank_table
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import DeepChestError, UsageError

NAMES = [f"{number}.png" for number in range(40)]


def source(own=None, **changes):
    table = blank_table(pd.Series(NAMES)).assign(patient_id=np.arange(40) // 2)
    labels = np.zeros((40, 1), np.uint8)
    values = {
        "kind": "csv", "title": "a table", "table": table, "findings": ("Mass",),
        "labels": labels, "known": labels + 1, "images": None, "hashed": (),
        "own_splits": own and (lambda: OwnSplits(np.array(own, dtype="<U10"))),
    }  # fmt: skip
    return Source(**(values | changes))


def write(tmp_path, rows, header="Image Index,split"):
    path = tmp_path / "parts.csv"
    path.write_text("\n".join([header, *(f"{name},{part}" for name, part in rows)]))
    return path


def test_a_file_gives_each_image_its_split_and_validation_is_carved_by_patient(tmp_path):
    rows = [(name, "test" if number < 10 else "train") for number, name in enumerate(NAMES[:38])]
    path = write(tmp_path, [*rows, ("other.png", "train")])
    found = assign_splits(source(), PrepareConfig(split_scheme=str(path), validation_fraction=0.3))
    assert found.scheme == "file" and found.hashed == (path,)
    assert list(found.splits[:10]) == ["test"] * 10
    assert list(found.splits[38:]) == ["", ""]
    assert (found.splits == "validation").sum() == 8
    assert np.array_equal(found.splits[10:38:2], found.splits[11:38:2])
    assert any("2 images, without a split in" in warning for warning in found.warnings)
    assert any("1 name in" in note for note in found.notes)


def test_a_file_with_its_own_validation_part_is_obeyed(tmp_path):
    parts = ["train", "val", "test", "Validation"]
    path = write(tmp_path, [(name, parts[n // 2 % 4]) for n, name in enumerate(NAMES)], "path,part")
    found = assign_splits(source(), PrepareConfig(split_scheme=str(path)))
    assert list(found.splits[:8:2]) == ["train", "validation", "test", "validation"]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([("0.png", "train"), ("1.png", "test")], DeepChestError, "in two splits"),
        ([("0.png", "Trainig")], UsageError, "row 2: 'Trainig' is no split"),
        ([("0.png", "train"), ("0.png", "test")], UsageError, "stands in rows 2, 3"),
    ],
)
def test_a_file_that_leaks_or_misspells_is_refused(tmp_path, rows, error, message):
    with pytest.raises(error, match=message):
        assign_splits(source(), PrepareConfig(split_scheme=str(write(tmp_path, rows))))


def test_a_scheme_that_is_neither_name_nor_file_is_an_error_with_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'random'"):
        assign_splits(source(), PrepareConfig(split_scheme="randon"))


def test_without_a_scheme_the_sources_own_is_taken_or_else_a_random_one():
    own = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    found = assign_splits(source(own, own_scheme="official"), PrepareConfig())
    assert found.scheme == "official" and list(found.splits) == own
    assert assign_splits(source(), PrepareConfig()).scheme == "random"


def test_a_split_that_the_source_does_not_have_is_refused():
    with pytest.raises(UsageError, match="a table has no split 'official'"):
        assign_splits(source(), PrepareConfig(split_scheme="official"))
    own = source(["train"] * 40, own_scheme="official")
    with pytest.raises(UsageError, match="no split 'chestmnist'. Its own split is 'official'"):
        assign_splits(own, PrepareConfig(split_scheme="chestmnist"))


def test_without_patients_a_random_split_is_warned_about_and_refused_for_chestmnist():
    found = assign_splits(source(has_patients=False), PrepareConfig())
    assert "does not name patients" in found.warnings[0]
    mnist = source(["train"] * 40, kind="chestmnist", own_scheme="chestmnist", has_patients=False)
    with pytest.raises(UsageError, match="does not say which images are of one patient"):
        assign_splits(mnist, PrepareConfig(split_scheme="random"))


def test_rare_findings_count_only_where_they_are_known():
    labels = np.ones((40, 1), np.uint8)
    one = assign_splits(source(labels=labels, known=labels * 0), PrepareConfig())
    other = assign_splits(source(), PrepareConfig())
    assert np.array_equal(one.splits, other.splits)


def test_a_study_in_two_splits_is_refused_with_two_images(tmp_path):
    of_two = blank_table(pd.Series(NAMES)).assign(
        study=[f"s{number // 2}" for number in range(40)], patient_id=np.arange(40) // 4
    )
    studies = source(table=of_two, has_studies=True)
    rows = [(name, "test" if number < 8 else "train") for number, name in enumerate(NAMES)]
    assign_splits(studies, PrepareConfig(split_scheme=str(write(tmp_path, rows))))
    rows[2], rows[37] = ("2.png", "train"), ("37.png", "val")
    path = write(tmp_path, rows)
    with pytest.raises(DeepChestError) as error:
        assign_splits(studies, PrepareConfig(split_scheme=str(path)))
    assert error.value.message == (
        f"{path}: 2 studies have images in two splits; the first, 's1': 2.png in train, 3.png in "
        "test."
    )
    own = ["train_val", "train"] + ["test"] * 38  # one split, the validation to be drawn
    with pytest.raises(
        DeepChestError, match="a table: 1 study has .* 's9': 18.png in test, 19.png"
    ):
        own[19] = "train"
        assign_splits(
            source(own, table=of_two, has_studies=True, own_scheme="official"), PrepareConfig()
        )

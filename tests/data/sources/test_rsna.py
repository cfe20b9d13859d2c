"""RSNA's tables: a row for each box, and detailed classes beside them."""

import io
import zipfile

import pytest
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.splitting import assign_splits
from deepchest_cli.errors import UsageError

LABELS = """patientId,x,y,width,height,Target
b,264.0,152.0,213.0,379.0,1
a,,,,,0
b,562.0,152.0,256.0,453.0,1
c,,,,,0
"""
CLASSES = """patientId,class
b,Lung Opacity
a,No Lung Opacity / Not Normal
b,Lung Opacity
c,Normal
"""


@pytest.fixture
def rsna(tmp_path):
    (tmp_path / "stage_2_train_labels.csv").write_text(LABELS)
    (tmp_path / "stage_2_detailed_class_info.csv").write_text(CLASSES)
    return tmp_path


def test_a_row_for_each_image_and_a_box_for_each_row_with_one(rsna):
    assert recognize(rsna, PrepareConfig()) == ("rsna", rsna)
    source = read_source(rsna, PrepareConfig())
    assert list(source.table["image_index"]) == ["a", "b", "c"]
    assert source.findings == ("Pneumonia",)
    assert [label(source, image, "Pneumonia") for image in "abc"] == [0, 1, 0]
    assert source.boxes[
        ["image_index", "finding", "x", "y", "width", "height"]
    ].values.tolist() == [
        ["b", "Pneumonia", 264, 152, 213, 379],
        ["b", "Pneumonia", 562, 152, 256, 453],
    ]
    assert list(source.boxes.index) == [2, 4]  # rows of the file
    assert source.box_frame == 1024


def test_what_the_tables_support_is_said(rsna):
    source = read_source(rsna, PrepareConfig())
    assert any("1 are 'Normal' and 1 are 'No Lung Opacity / Not Normal'" in n for n in source.notes)
    assert any("from NIH ChestX-ray14" in note for note in source.notes)
    assert not source.has_patients and source.table["patient_id"].nunique() == 3
    assert "does not name patients" in assign_splits(source, PrepareConfig()).warnings[0]


def test_without_the_detailed_classes(rsna):
    (rsna / "stage_2_detailed_class_info.csv").unlink()
    source = read_source(rsna, PrepareConfig())
    assert [path.name for path in source.hashed] == ["stage_2_train_labels.csv"]
    assert source.labels.sum() == 1


def test_a_table_as_kaggle_packs_it(rsna):
    path = rsna / "stage_2_train_labels.csv"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(path, path.name)
    path.unlink()
    (rsna / "stage_2_train_labels.csv.zip").write_bytes(packed.getvalue())
    assert read_source(rsna, PrepareConfig()).labels.sum() == 1
    (rsna / "stage_2_train_labels.csv.zip").write_bytes(packed.getvalue()[:-9])
    with pytest.raises(UsageError, match="cut short or damaged"):
        read_source(rsna, PrepareConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Target", "Label"), "no column 'Target'"),
        (("453.0,1", "453.0,2"), "row 4: column 'Target' should be 1, 0"),
        (("453.0,1", "453.0,-1"), "row 4: Target should be 0 or 1. Found '-1'"),
        (("453.0,1", "453.0,"), "row 4: Target should be 0 or 1. Found ''"),
        (("a,,,,,0", "a,1,2,3,4,0"), "row 3: a Target of 0 has no box"),
        (("a,,,,,0", "a,,,,,1"), "row 3: a Target of 1 needs a box"),
        (("453.0", "953.0"), "row 4: a Target of 1 needs a box: .* within 1024 pixels"),
        (("453.0", "-1"), "row 4: a Target of 1 needs a box"),
        (("a,,,,,0", "b,,,,,0"), "'b' has a Target of 0 in row 3 and of 1 in row 2"),
        (("a,,,,,0", ",,,,,0"), "row 3: column 'patientId' is empty"),
    ],
)
def test_bad_rows_are_named(rsna, change, message):
    path = rsna / "stage_2_train_labels.csv"
    path.write_text(LABELS.replace(*change))
    with pytest.raises(UsageError, match=f"stage_2_train_labels.csv.*{message}"):
        read_source(rsna, PrepareConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("c,Normal", "c,Healthy"), "row 5: 'Healthy' is no class"),
        (("c,Normal", "c,Lung Opacity"), "row 5: 'Lung Opacity' contradicts the Target"),
        (("c,Normal", "a,Normal"), "image 'a' has several classes"),
        (("class", "kind"), "no column 'class'"),
    ],
)
def test_bad_classes_are_named(rsna, change, message):
    path = rsna / "stage_2_detailed_class_info.csv"
    path.write_text(CLASSES.replace(*change))
    with pytest.raises(UsageError, match=f"stage_2_detailed_class_info.csv.*{message}"):
        read_source(rsna, PrepareConfig())

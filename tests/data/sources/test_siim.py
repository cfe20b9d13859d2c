"""SIIM's run lengths: pixels down the columns, each gap counted from the end of the run before."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests_support import label

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.recognize import read_source, recognize
from deepchest_cli.data.sources.siim import outline_boxes
from deepchest_cli.errors import UsageError

# column 2 from row 3, 4 pixels; column 3 from row 5, 2 pixels
RUNS = f"{2 * 1024 + 3} 4 {1024 - 4 + 2} 2"
TABLE = f"""ImageId, EncodedPixels
1.2.b, {RUNS}
1.2.a, -1
1.2.b,{1024 * 1024 - 1} 1
"""


def write(folder, text=TABLE, name="train-rle.csv"):
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "name", ["train-rle.csv", "siim-pneumothorax-train-rle.csv", "stage_2_train.csv"]
)
def test_outlines_become_a_label_and_boxes(tmp_path, name):
    write(tmp_path, TABLE.replace(", ", ",") if "stage_2" in name else TABLE, name)
    assert recognize(tmp_path, PrepareConfig()) == ("siim", tmp_path)
    source = read_source(tmp_path, PrepareConfig())
    assert list(source.table["image_index"]) == ["1.2.a", "1.2.b"]
    assert source.findings == ("Pneumothorax",)
    assert [label(source, image, "Pneumothorax") for image in ("1.2.a", "1.2.b")] == [0, 1]
    assert source.boxes[["image_index", "x", "y", "width", "height"]].values.tolist() == [
        ["1.2.b", 2, 3, 2, 4],
        ["1.2.b", 1023, 1023, 1, 1],
    ]
    assert list(source.boxes.index) == [2, 4] and source.box_frame == 1024
    assert any("from NIH ChestX-ray14" in note for note in source.notes)
    assert not source.has_patients


def test_the_second_stage_goes_before_the_first(tmp_path):
    write(tmp_path)
    write(tmp_path, "ImageId,EncodedPixels\nz,-1\n", "stage_2_train.csv")
    assert list(read_source(tmp_path, PrepareConfig()).table["image_index"]) == ["z"]


def test_a_table_of_another_challenge_is_none(tmp_path):
    write(tmp_path, "ID,Label\nz,1\n", "stage_2_train.csv")
    assert recognize(tmp_path, PrepareConfig())[0] == "nih"


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 3000)), min_size=1, max_size=40))
def test_boxes_are_those_of_the_drawn_outline(runs):
    drawn = np.zeros(1024 * 1024, dtype=bool)
    place = 0
    for gap, length in runs:
        drawn[place + gap : place + gap + length] = True
        place += gap + length
    rows, columns = np.nonzero(drawn.reshape(1024, 1024).T)
    cell = " ".join(f"{gap} {length}" for gap, length in runs)
    column = pd.Series(["0 1", cell])
    found = outline_boxes(column, None)
    assert found[0].tolist() == [0, 0, 1, 1]
    assert found[1].tolist() == [
        columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("EncodedPixels", "Pixels"), "has no table stage_2_train.csv or train-rle.csv"),
        (("ImageId", "Image"), "no column 'ImageId'"),
        ((" -1", ""), "row 3: column 'EncodedPixels' is empty"),
        (("1.2.a, -1", "1.2.b, -1"), "'1.2.b' has no outline by row 3 and one in row 2"),
        ((RUNS, "5"), "row 2: run lengths should be pairs of a gap and a length"),
        ((RUNS, "5 x"), "row 2: run lengths should be whole numbers"),
        ((RUNS, "5 -6"), "row 2: run lengths should be whole numbers"),
        ((RUNS, "5 1234567890123"), "row 2: run lengths should be whole numbers"),
        ((RUNS, "5 0"), "row 2: run lengths should be runs within 1024 × 1024 pixels"),
        (("1048575 1", "1048575 2"), "row 4: run lengths should be runs within 1024 × 1024 pixels"),
    ],
)
def test_bad_rows_are_named(tmp_path, change, message):
    write(tmp_path, TABLE.replace(*change))
    with pytest.raises(UsageError, match=message):
        read_source(tmp_path, PrepareConfig(layout="siim"))

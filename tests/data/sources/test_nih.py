import math
from pathlib import Path

import pytest

from deepchest_cli.data.sources.nih import find_beside, read_boxes, read_split_lists
from deepchest_cli.data.sources.nih_metadata import read_metadata
from deepchest_cli.errors import UsageError

BRACKETS = "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
START = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,"
VARIANTS = {
    "2017, comma after the header": (
        f"{START}Patient Gender,View Position,{BRACKETS},\n",
        "{},{},3,7,{},F,AP,2500,2048,0.1,0.1\n",
    ),
    "v2020": (
        f"{START}Patient Gender,View Position,{BRACKETS}\n",
        "{},{},3,7,{},F,AP,2500,2048,0.1,0.1\n",
    ),
    "Box today, commas after header and rows": (
        f"{START}Patient Sex,View Position,{BRACKETS},\n",
        "{},{},3,7,{},F,AP,2500,2048,0.1,0.1,\n",
    ),
    "commas after the rows only": (
        f"{START}Patient Sex,View Position,{BRACKETS}\n",
        "{},{},3,7,{},F,AP,2500,2048,0.1,0.1,\n",
    ),
    "Kaggle's sample, CRLF and padded ids": (
        f"{START}Patient Gender,View Position,OriginalImageWidth,OriginalImageHeight,"
        "OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y\r\n",
        "{},{},003,00000007,{},F,AP,2500,2048,0.1,0.1\r\n",
    ),
}
HEADER, ROW = VARIANTS["v2020"]


def table(tmp_path: Path, text: str, name: str = "Data_Entry_2017_v2020.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_header_variant_gives_the_same(tmp_path, variant):
    header, row = VARIANTS[variant]
    text = (
        header
        + row.format("b.png", "Mass|Hernia", "58")
        + row.format("a.png", "No Finding", "060Y")
    )
    read = read_metadata(table(tmp_path, text)).table
    assert list(read["image_index"]) == ["a.png", "b.png"]
    assert list(read["patient_id"]) == [7, 7]
    assert list(read["age"]) == [60, 58]
    assert list(read["sex"]) == ["F", "F"]
    assert list(read["view"]) == ["AP", "AP"]
    assert list(read["follow_up"]) == [3, 3]
    assert list(read["original_width"]) == [2500, 2500]
    assert list(read["original_height"]) == [2048, 2048]
    assert list(read["Mass"]) == [0, 1]
    assert list(read["Nodule"]) == [0, 0]


@pytest.mark.parametrize(
    ("text", "years"),
    [("58", 58), ("060Y", 60), ("013M", 13 / 12), ("001D", 1 / 365.25), ("0", 0), ("095Y", 95)],
)
def test_ages_carry_units(tmp_path, text, years):
    read = read_metadata(table(tmp_path, HEADER + ROW.format("a.png", "Mass", text)))
    assert read.table["age"][0] == pytest.approx(years)
    assert not read.warnings


@pytest.mark.parametrize("text", ["411Y", "414", "x", "-3"])
def test_impossible_ages_are_unknown_and_said(tmp_path, text):
    read = read_metadata(table(tmp_path, HEADER + ROW.format("a.png", "Mass", text)))
    assert math.isnan(read.table["age"][0])
    assert text in read.warnings[0]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("Data_Entry_2017_v2020.csv", "2020"),
        ("Data_Entry_2017.csv", "2017"),
        ("sample_labels.csv", "unknown"),
    ],
)
def test_label_version(tmp_path, name, version):
    text = HEADER + ROW.format("a.png", "Mass", "50")
    assert read_metadata(table(tmp_path, text, name)).label_version == version


GOOD = ROW.format("a.png", "Mass", "50")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        (HEADER, "no rows"),
        ("a,b\n1,2\n", "no column 'Image Index'"),
        (HEADER.replace("Patient ID", "Patient") + GOOD, "no column 'Patient ID'"),
        (HEADER + GOOD + "b.png,Mass,1", "row 3: the row ends before column 'Patient ID'"),
        (
            HEADER + GOOD + GOOD.replace("a.png", "b.png").replace(",7,", ",,"),
            "row 3: column 'Patient ID' is empty",
        ),
        (HEADER + GOOD + ROW.format("b.png", "Lupus", "3"), "row 3.*unknown finding 'Lupus'"),
        (HEADER + GOOD + ROW.format("b.png", "Pneumo", "3"), "row 3.*unknown finding 'Pneumo'"),
        (HEADER + GOOD + GOOD, "'a.png' stands in rows 2, 3"),
        (HEADER + GOOD.replace(",7,", ",1e30,"), "row 2: column 'Patient ID'.*'1e30'"),
        (HEADER + GOOD.replace(",7,", ",-7,"), "row 2: column 'Patient ID'.*'-7'"),
        (HEADER + GOOD.replace(",7,", ",seven,"), "row 2: column 'Patient ID'.*'seven'"),
        (HEADER + GOOD.replace("a.png", "a" * 129), "row 2: image name"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    ],
)
def test_bad_tables_name_column_and_row(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_metadata(table(tmp_path, text))


def test_a_binary_file_is_no_table(tmp_path):
    path = tmp_path / "Data_Entry_2017.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00\x01" * 20)
    with pytest.raises(UsageError, match="not UTF-8"):
        read_metadata(path)


def test_split_lists_need_no_last_newline(nih_folder):
    lists, _ = read_split_lists(nih_folder)
    assert len(lists["train_val"]) == 60
    assert len(lists["test"]) == 20


def test_a_missing_list_says_what_to_do(nih_folder):
    (nih_folder / "test_list.txt").unlink()
    with pytest.raises(UsageError) as error:
        read_split_lists(nih_folder)
    assert "--split-scheme random" in error.value.hint


def test_an_image_in_both_lists_is_refused(nih_folder):
    text = (nih_folder / "test_list.txt").read_text()
    (nih_folder / "train_val_list.txt").write_text(text)
    with pytest.raises(UsageError, match="both split lists"):
        read_split_lists(nih_folder)


def test_boxes_with_nihs_broken_header(nih_folder):
    boxes = read_boxes(find_beside(nih_folder, "BBox_List_2017.csv"))
    assert boxes.to_dict("records") == [
        {
            "image_index": "00000004_001.png",
            "finding": "Infiltration",
            "x": 256.0,
            "y": 512.0,
            "width": 128.0,
            "height": 64.0,
        }
    ]


def test_no_boxes_without_the_file(nih_folder):
    (nih_folder / "BBox_List_2017.csv").unlink()
    assert read_boxes(find_beside(nih_folder, "BBox_List_2017.csv")).empty


def test_a_follow_up_number_out_of_range_is_unknown(tmp_path):
    text = HEADER + GOOD.replace(",1,7", ",99999999999,7").replace(",3,7", ",99999999999,7")
    assert list(read_metadata(table(tmp_path, text)).table["follow_up"]) == [-1]


def test_a_list_in_another_encoding_is_named(nih_folder):
    (nih_folder / "test_list.txt").write_bytes(b"a.png\nvuln\xe9rable.png\n")
    with pytest.raises(UsageError, match=r"test_list\.txt, line 2: byte 0xe9 is not UTF-8"):
        read_split_lists(nih_folder)


@pytest.mark.parametrize(
    "line", ["a.png,Mass,nan,1,2,3", "a.png,Mass,1,1,2,1e300", "a.png,,1,2,3,4", ",Mass,1,2,3,4"]
)
def test_impossible_boxes_name_their_row(nih_folder, line):
    with (nih_folder / "BBox_List_2017.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match="row 3"):
        read_boxes(find_beside(nih_folder, "BBox_List_2017.csv"))

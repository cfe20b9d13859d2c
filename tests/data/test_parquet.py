import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepchest_cli.data.parquet import class_names, text_columns
from deepchest_cli.data.tabular.columns import decimal_numbers, image_column
from deepchest_cli.data.tabular.tables import read_table, row_number
from deepchest_cli.errors import UsageError
from deepchest_cli.extras import install_hint

NAMES = ["No Finding", "Mass", "Hernia"]
CLASS = {"names": NAMES, "_type": "ClassLabel"}
LISTS = [
    {"feature": CLASS, "_type": "Sequence"},
    {"feature": CLASS, "_type": "List"},
    {"feature": CLASS, "length": -1, "_type": "Sequence"},
    [CLASS],  # before version 1.0
]


def with_features(table, **features):
    """Return a table with the metadata that Hugging Face's `datasets` writes."""
    return table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
def test_numbers_come_back_to_the_last_bit(tmp_path, dtype):
    path, chance = tmp_path / "p.parquet", np.random.default_rng(0)
    scores = chance.random(1000).astype(dtype)
    scores[:3] = 0, 1, np.finfo(dtype).tiny
    pq.write_table(pa.table({"Image Index": [f"{n}.png" for n in range(1000)], "a": scores}), path)
    found = decimal_numbers(read_table(path)["a"], "a", path)
    assert np.array_equal(found.astype(dtype), scores) and np.array_equal(found, scores)


def test_a_table_reads_as_its_csv_file_does(tmp_path):
    frame = pd.DataFrame(
        {"Image Index": ["a.png", " b.png "], "Mass": [0.25, 1e-9], "n": [1, -1],
         "sex": pd.Categorical(["M", "F"]), "healthy": [True, False]}
    )  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_parquet(tmp_path / "t")  # known by its beginning
    expected = read_table(tmp_path / "t.csv")
    for name in ("t.parquet", "t"):
        found = read_table(tmp_path / name)
        assert found.to_numpy().tolist() == expected.to_numpy().tolist()
        assert list(found) == list(expected) and (found.dtypes == expected.dtypes).all()
        assert [row_number(found, place) for place in range(2)] == [1, 2]  # there is no header


def test_an_index_that_pandas_wrote_names_the_images(tmp_path):
    frame = pd.DataFrame({"Mass": [0.5, 0.25]}, index=["a.png", "b.png"])
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert image_column(table, tmp_path) == "Unnamed: 0" == table.columns[0]
    frame.rename_axis("Image Index").to_parquet(tmp_path / "t.parquet")
    assert image_column(read_table(tmp_path / "t.parquet"), tmp_path) == "Image Index"


@pytest.mark.parametrize("feature", LISTS)
def test_class_numbers_get_their_names_and_lists_are_written_as_nih_does(tmp_path, feature):
    table = pa.table({"labels": [[1, 2], [0], [], None], "one": [2, -1, 0, 1]})
    table = with_features(table, labels=feature, one=CLASS)
    assert class_names(table.schema) == {"labels": NAMES, "one": NAMES}
    pq.write_table(table, tmp_path / "t.parquet")
    assert text_columns(tmp_path / "t.parquet") == {
        "labels": ["Mass|Hernia", "No Finding", "No Finding", ""],
        "one": ["Hernia", "", "No Finding", "Mass"],
    }


@pytest.mark.parametrize("text", ["", "{", "[]", '{"info": null}', '{"info": {"features": 1}}'])
def test_metadata_of_others_are_passed_over(text):
    schema = pa.schema([("labels", pa.int8())], metadata={"huggingface": text})
    assert class_names(schema) == {}


def test_bytes_of_images_are_not_read(tmp_path):
    image = pa.array([{"bytes": b"\x89PNG", "path": "a.png"}])
    pq.write_table(pa.table({"image": image, "raw": [b"1"], "n": [1]}), tmp_path / "t.parquet")
    assert list(read_table(tmp_path / "t.parquet")) == ["n"]
    pq.write_table(pa.table({"image": image, "raw": [b"1"]}), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="no column of text or numbers"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "is empty"),
        (lambda data: data[: len(data) // 2], "is cut short: the footer is missing"),
        (lambda data: data[:-1], "is cut short"),
        (lambda data: b"a,b\n1,2\n", "is no Parquet file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid 1\n", "Git LFS pointer"),
        (lambda data: data[:4] + bytes(200) + data[204:], "is damaged"),
        (lambda data: data[:-60] + bytes(52) + data[-8:], "is damaged"),
    ],
)
def test_what_is_no_whole_file_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": [f"{n}.png" for n in range(100)]}), path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UsageError, match=message) as error:
        read_table(path)
    assert error.value.message.startswith(str(path)) and error.value.hint


def test_what_is_no_table_of_images_is_refused(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(UsageError, match=r"t.parquet is not there"):
        read_table(path)
    pq.write_table(pa.table({"name": pa.array([], pa.string())}), path)
    with pytest.raises(UsageError, match="has no rows"):
        read_table(path)
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, ["a", "a"]), path)
    with pytest.raises(UsageError, match="two columns 'a'"):
        read_table(path)
    pq.write_table(with_features(pa.table({"labels": [[1, 3]]}), labels=LISTS[0]), path)
    with pytest.raises(UsageError, match="column 'labels' has class 3, and names for 3 classes"):
        read_table(path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"Reading t.parquet needs pyarrow") as error:
        read_table(tmp_path / "t.parquet")
    assert error.value.hint == install_hint("parquet")  # tests/test_extras.py holds its words

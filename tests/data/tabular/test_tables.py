import gzip
import io
import zipfile

import pytest

from deepchest_cli.data.tabular.columns import need_column, refuse_blank
from deepchest_cli.data.tabular.tables import (
    blank_rows,
    find_table,
    header_of,
    read_table,
    read_text,
    row_number,
)
from deepchest_cli.errors import UsageError

PLAIN = "name,label\na.png,1\nb.png,0\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.strip().encode(),
        gzip.compress(PLAIN.encode(), mtime=0),
        PLAIN.replace("name,label", "name,label,").encode(),
        PLAIN.replace("\n", ",\n").encode(),
        PLAIN.replace("1\n", "1,\n").replace("0\n", "0,\n").encode(),
        PLAIN.replace(",", ";").encode("utf-8-sig"),  # Excel where commas are decimal
        PLAIN.replace(",", "\t").encode("utf-16"),  # Excel's "Unicode text"
        PLAIN.replace(",", ";").replace("\n", ";\r\n").encode(),
        (PLAIN + ",\n,\n").encode(),  # Excel's rows below the last one
        (PLAIN + ";;\n").replace(",", ";").encode(),
        (PLAIN + ' ,""\n\n , ,,\n').encode(),
        PLAIN.replace("b.png", ",\n\nb.png").encode(),
    ],
)
def test_every_form_of_one_table_reads_the_same(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["name", "label"]
    assert table.to_numpy().tolist() == [["a.png", "1"], ["b.png", "0"]]


def test_rows_without_values_are_counted_and_others_keep_their_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,label\na.png,1\n,\n,\nb.png,\n,\n")
    table = read_table(path)
    assert blank_rows(table, path) == ("t.csv: 3 rows have no values and are passed over.",)
    assert row_number(table["label"], 1) == 5
    with pytest.raises(UsageError, match="row 5: column 'label' is empty"):
        refuse_blank(table["label"], path)
    path.write_text(PLAIN)
    assert blank_rows(read_table(path), path) == ()


def test_a_blank_that_a_program_wrote_is_no_name(tmp_path):
    (tmp_path / "t.csv").write_text("name,patient\na.png,NA\n")
    with pytest.raises(UsageError, match=r"row 2: column 'patient' is empty \('NA'\)"):
        refuse_blank(read_table(tmp_path / "t.csv")["patient"], tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"a,b\n,\n,\n", "no rows"),
        (b"a,b\n1,2\n,\n3\n", "row 4: the row ends before column 'b'"),
        (b"a,b\n", "no rows"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1\n", "Git LFS pointer"),
        (b"a,b\n1,2\n3,\xe9\n", "line 3: byte 0xe9 is not UTF-8"),
        (b"a,b\n1,2\n3", "row 3: the row ends before column 'b'"),
        (b'a,b\n1,"2\n', "no readable CSV"),
        (b"a,b\n1,2\n1,2,3,4\n", "row 3: 4 fields in 2 columns"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "cut short or damaged"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8"),
    ],
)
def test_what_is_no_whole_table_is_refused_by_name(tmp_path, data, message):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        read_table(tmp_path / "t.csv")
    assert "t.csv" in error.value.message


def test_another_encoding_comes_with_what_mends_it(tmp_path):
    (tmp_path / "t.csv").write_bytes("name\nvulnérable\n".encode("latin-1"))
    with pytest.raises(UsageError) as error:
        read_text(tmp_path / "t.csv")
    assert error.value.hint == "Save the file as UTF-8."


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    (tmp_path / "t.csv").write_text(PLAIN)
    table = read_table(tmp_path / "t.csv")
    with pytest.raises(UsageError, match=r"no column 'Path'. Found: name, label"):
        need_column(table, ("Path", "path"), tmp_path / "t.csv", "")


def zipped(*names):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, PLAIN)
    return packed.getvalue()


def test_a_table_alone_in_a_zip_file_is_read(tmp_path):
    path = tmp_path / "table.csv.zip"
    path.write_bytes(zipped("table.csv"))
    assert list(read_table(path)["name"]) == ["a.png", "b.png"]
    path.write_bytes(zipped("table.csv", "readme.csv"))
    with pytest.raises(UsageError, match="holds 2 files"):
        read_table(path)


def test_a_table_is_found_packed_and_unpacked_and_its_header_read(tmp_path):
    assert find_table(tmp_path, "t.csv") is None and header_of(tmp_path / "t.csv") == ""
    for name, data in (("t.csv.zip", zipped("t.csv")), ("t.csv.gz", gzip.compress(PLAIN.encode())),
                       ("t.csv", PLAIN.encode())):  # fmt: skip
        (tmp_path / name).write_bytes(data)
        found = find_table(tmp_path, "t.csv")
        assert found.name == name and header_of(found) == "name,label"
    (tmp_path / "t.csv").write_bytes(b"")
    assert header_of(tmp_path / "t.csv") == ""

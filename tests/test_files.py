import json
from pathlib import Path

import pytest

from deepchest_cli.errors import UsageError
from deepchest_cli.files import held, read_text, replacing, to_csv, to_json, write_json, write_text

NAN, INFINITY = float("nan"), float("inf")


def write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_half(tmp_path / "new.txt")
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_file_before_as_it_was(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("whole")
    with pytest.raises(ZeroDivisionError):
        write_half(path)
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_not_touched_before_the_new_one_is_whole(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text("before")
    with replacing(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
        assert temporary.parent == tmp_path  # a rename does not cross file systems
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_held_folder_is_refused_until_it_is_let_go(tmp_path):
    with held(tmp_path), pytest.raises(UsageError, match="Another deepchest"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_an_error_within_a_held_folder_is_its_own_and_lets_go(tmp_path):
    busy = BlockingIOError("a pipe is full")
    with pytest.raises(BlockingIOError) as raised, held(tmp_path):
        raise busy
    assert raised.value is busy
    with held(tmp_path):
        pass


def test_json_has_null_for_what_is_no_number():
    document = {"a": NAN, "b": [1.5, INFINITY, (-INFINITY, {"c": NAN})], "d": None, "e": "nan"}
    assert json.loads(to_json(document), parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, None, [None, {"c": None}]],
        "d": None,
        "e": "nan",
    }


def test_csv_has_empty_cells_for_what_is_no_number():
    rows = [{"x": NAN, "y": 0.0, "z": "nan"}, {"z": "a,b", "y": None, "x": INFINITY}]
    assert to_csv(["x", "y", "z"], rows) == 'x,y,z\n,0.0,nan\n,,"a,b"\n'


def test_csv_refuses_a_column_that_has_no_heading():
    with pytest.raises(ValueError, match="'y'"):
        to_csv(["x"], [{"x": 1, "y": 2}])


def test_written_files_are_utf_8_and_end_in_a_line_break(tmp_path):
    write_text(tmp_path / "a.txt", "65 µm")
    assert (tmp_path / "a.txt").read_bytes() == b"65 \xc2\xb5m"
    write_json(tmp_path / "a.json", {"a": NAN})
    assert (tmp_path / "a.json").read_bytes() == b'{\n  "a": null\n}\n'


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        ("", "utf-8"),
        ("\ufeff", "utf-8"),
        ("", "utf-16-le"),
        ("\ufeff", "utf-16-le"),
        ("", "utf-16-be"),
        ("\ufeff", "utf-16-be"),
        ("\ufeff", "utf-32-le"),
        ("\ufeff", "utf-32-be"),
    ],
)
def test_text_is_read_however_notepad_and_powershell_save_it(tmp_path, mark, encoding):
    path = tmp_path / "a.toml"
    path.write_bytes((mark + "a = 'µ'\r\nb = '胸'\r\n").encode(encoding))
    assert read_text(path) == "a = 'µ'\nb = '胸'\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = 1\nb = '65 \xb5m'\n", "line 2: byte 0xb5 is not UTF-8"),
        ("\ufeffa = 1\n".encode("utf-16-le")[:-1], "is not UTF-16"),
    ],
)
def test_text_of_another_encoding_is_refused_with_its_line(tmp_path, data, message):
    path = tmp_path / "a.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        read_text(path)
    assert "UTF-8" in error.value.hint


def test_an_empty_file_is_an_empty_text(tmp_path):
    (tmp_path / "a.toml").touch()
    assert read_text(tmp_path / "a.toml") == ""

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from deepchest_cli import files
from deepchest_cli.errors import UsageError
from deepchest_cli.files import (
    MACHINE,
    OPEN_FILES,
    TEMPORARY,
    allow_open_files,
    atomic_write,
    is_locked,
    locked,
    read_text,
    sha256_of,
    sweep,
    sweep_locked,
    temporary_path,
    to_csv,
    to_json,
    write_json,
    write_text,
)

NAN, INFINITY = float("nan"), float("inf")


def write_half(path: Path) -> None:
    with atomic_write(path) as temporary:
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
    with atomic_write(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
        assert temporary.parent == tmp_path  # a rename does not cross file systems
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_held_folder_is_refused_until_it_is_let_go(tmp_path):
    with locked(tmp_path), pytest.raises(UsageError, match="Another deepchest"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_an_error_within_a_held_folder_is_its_own_and_lets_go(tmp_path):
    busy = BlockingIOError("a pipe is full")
    with pytest.raises(BlockingIOError) as raised, locked(tmp_path):
        raise busy
    assert raised.value is busy
    with locked(tmp_path):
        pass


def test_a_folder_is_shared_or_locked_by_one(tmp_path):
    for first, second in ((True, False), (False, True)):
        with (
            locked(tmp_path, shared=first),
            pytest.raises(UsageError, match="Another deepchest"),
            locked(tmp_path, shared=second),
        ):
            pass
    with locked(tmp_path, shared=True), locked(tmp_path, shared=True):
        pass


def test_a_folder_that_another_has_alone_is_locked_and_a_shared_one_is_not(tmp_path):
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)
    with locked(tmp_path, shared=True):
        assert not is_locked(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_holds_nothing(tmp_path, monkeypatch, number):
    def refuse(descriptor, how):
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path):
        pass


DEAD = 2**22 + 1  # no process has this number


@pytest.fixture
def left_behind(tmp_path):
    """Half-written files of a dead process, of one that lives, of this one's number, of others."""
    (tmp_path / "below").mkdir()
    for name in ("a.csv", "b.pt", "below/a.csv"):
        for process in (DEAD, os.getppid(), os.getpid()):
            temporary_path(tmp_path / name, process=process).touch()
        temporary_path(tmp_path / name, "node-7-40", DEAD).touch()
    for name in (f".b.pt.{MACHINE}-{DEAD}.tmp.onnx", f".b.pt.{DEAD}.tmp", ".a.csv.tmp", "a.csv"):
        (tmp_path / name).touch()

    def remaining():
        found = (str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        names = (name.replace(f"{MACHINE}-", "HERE-") for name in found)
        return {name.replace(f"-{os.getppid()}.", "-LIVES.") for name in names}

    return remaining


ALWAYS = {".a.csv.tmp", "a.csv"}  # who knows whose that is
OF_OTHERS = {".b.pt.HERE-LIVES.tmp", f".b.pt.node-7-40-{DEAD}.tmp"}  # who may be writing it


def test_what_the_dead_left_of_a_file_goes(tmp_path, left_behind):
    before = left_behind()
    sweep(tmp_path, ["b.pt"])
    numbers = (f"HERE-{DEAD}", f"HERE-{os.getpid()}", DEAD)  # version 0.1 names no machine
    gone = {f".b.pt.{number}.tmp" for number in numbers} | {f".b.pt.HERE-{DEAD}.tmp.onnx"}
    assert left_behind() == before - gone
    sweep(tmp_path)
    assert {name for name in left_behind() if "below" not in name} == ALWAYS | OF_OTHERS | {
        ".a.csv.HERE-LIVES.tmp",
        f".a.csv.node-7-40-{DEAD}.tmp",
    }


def test_in_a_held_folder_only_what_others_may_be_writing_stays(tmp_path, left_behind):
    sweep_locked(tmp_path, ["a.csv"])
    assert left_behind() == ALWAYS | OF_OTHERS


def test_a_text_takes_with_it_what_was_left_of_it(tmp_path, left_behind):
    write_text(tmp_path / "a.csv", "whole")
    assert f".a.csv.HERE-{DEAD}.tmp" not in left_behind()
    assert f".a.csv.node-7-40-{DEAD}.tmp" in left_behind()
    assert f".b.pt.HERE-{DEAD}.tmp" in left_behind()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("node7.cluster.example.org", "node7"),
        ("Räume 3", "R-ume-3"),
        ("prepare-" + "x" * 60 + "-7fk2p", "x" * 26 + "-7fk2p"),
        ("", ""),
    ],
)
def test_the_name_of_a_machine_is_short_and_fits_into_a_file_name(monkeypatch, host, expected):
    monkeypatch.setattr("platform.node", lambda: host)
    name = files._name_of_machine()
    assert name.startswith(expected) and len(name) <= 48
    path = temporary_path(Path("best.pt"), name, 12)
    assert TEMPORARY.fullmatch(path.name).groups() == ("best.pt", name, "12", None)


def test_names_hold_machine_and_process_apart(tmp_path):
    with atomic_write(tmp_path / "a") as temporary:
        assert temporary.name == f".a.{MACHINE}-{os.getpid()}.tmp"
        temporary.touch()


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


def test_the_hash_of_a_folder_is_of_all_its_files_and_their_names(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / "below").mkdir(parents=True)
        (tmp_path / name / "a.xml").write_text("a")
        (tmp_path / name / "below" / "b.xml").write_text("b")
    first = sha256_of(tmp_path / "one")
    assert first == sha256_of(tmp_path / "other")
    (tmp_path / "other" / "below" / "b.xml").rename(tmp_path / "other" / "b.xml")
    (tmp_path / "one" / "a.xml").write_text("c")
    assert len({first, sha256_of(tmp_path / "one"), sha256_of(tmp_path / "other")}) == 3


def test_a_process_may_hold_many_files_open():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[0], 256), limits[1]))
        allow_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(OPEN_FILES, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

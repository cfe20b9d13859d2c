import io
import os
from pathlib import Path

import pytest
from PIL import Image

from deepchest_cli.errors import UsageError
from deepchest_cli.prediction.inputs import (
    NOTHING_IN_FOLDER,
    NOTHING_MATCHES,
    InputFile,
    find_inputs,
    split_paths,
)

ODD = ("with space.png", "line\nbreak.png", "Röntgen-胸部.png", "percent%20.png", "[brackets].png")


@pytest.fixture
def folder(tmp_path):
    """A folder with images of every kind of name, and other files."""
    picture = Image.new("L", (8, 8), 9)
    for name in ("b/2.png", "b/1.PNG", "a.jpg", "c.dat"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        picture.save(path, format="JPEG" if name.endswith("jpg") else "PNG")
    (tmp_path / "broken.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / ".hidden.png").write_bytes(b"resource fork")
    return tmp_path


def names(found, folder):
    return [str(one.path.relative_to(folder)) for one in found]


def test_a_folder_stands_for_its_images_by_content_in_stable_order(folder):
    found = list(find_inputs([str(folder)]))
    assert names(found, folder) == ["a.jpg", "b/1.PNG", "b/2.png", "broken.png", "c.dat"]
    assert found == list(find_inputs([str(folder)]))


def test_a_dicom_file_in_a_folder_is_known_by_its_content(folder):
    (folder / "b/scan").write_bytes(bytes(128) + b"DICM")
    assert "b/scan" in names(find_inputs([str(folder)]), folder)


def test_dicom_files_without_beginning_or_with_other_suffixes_are_known_by_their_content(tmp_path):
    explicit = b"\x08\0\x05\0CS\n\0ISO_IR 100\x08\0\x16\0UI\x02\x001\0"
    implicit = b"\x08\0\x05\0\n\0\0\0ISO_IR 100\x08\0\x16\0\x02\0\0\x001\0"
    contents = {
        "IM0000": explicit,
        "scan.IMA": implicit,
        "scan.dicom": implicit,
        "1.2.840.113": bytes(128) + b"DICM",
        "DICOMDIR": bytes(128) + b"DICM",  # lists the others
        "notes": b"\x08\0\x05\0words",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    images = ["1.2.840.113", "IM0000", "scan.IMA", "scan.dicom"]
    assert names(find_inputs([str(tmp_path)]), tmp_path) == images
    assert names(find_inputs([f"{tmp_path}/*IM*0*"]), tmp_path) == ["IM0000"]


def test_a_link_back_ends(folder):
    (folder / "b" / "up").symlink_to(folder)
    assert len(list(find_inputs([str(folder)]))) == 5


def test_patterns(folder):
    assert names(find_inputs([f"{folder}/**/*.png"]), folder) == ["b/2.png", "broken.png"]
    assert names(find_inputs([f"{folder}/b*"]), folder) == ["b/1.PNG", "b/2.png", "broken.png"]
    assert list(find_inputs([f"{folder}/*.bmp"])) == [
        InputFile(folder / "*.bmp", NOTHING_MATCHES),
    ]


def test_a_name_with_brackets_is_a_name_where_it_exists(folder):
    path = folder / "[brackets].png"
    path.write_bytes(b"x")
    assert list(find_inputs([str(path)])) == [InputFile(path)]


def test_an_empty_folder_is_said(tmp_path):
    assert list(find_inputs([str(tmp_path)])) == [InputFile(tmp_path, NOTHING_IN_FOLDER)]


def test_order_and_repetition_are_the_callers(folder):
    given = [str(folder / "c.dat"), "none.png", str(folder / "c.dat"), "-"]
    found = [str(one.path) for one in find_inputs(given, iter(["x", "y"]))]
    assert found == [given[0], "none.png", given[0], "x", "y"]


def test_a_folder_among_listed_paths_is_not_searched(folder):
    (found,) = find_inputs(["-"], [str(folder)])
    assert "find -type f" in found.problem


@pytest.mark.parametrize("end", [b"\n", b"\0"])
def test_listed_paths_keep_their_letters(end):
    given = [name for name in ODD if end == b"\0" or "\n" not in name]
    stream = io.BytesIO(b"".join(os.fsencode(name) + end for name in given))
    assert list(split_paths(stream, end)) == given


def listed(data, end=b"\n"):
    return list(split_paths(io.BytesIO(data), end))


def test_listed_paths_need_no_last_end_and_may_end_as_on_windows():
    assert listed(b"a.png\r\n\n  \r\n b.png \r\nc.png") == ["a.png", "b.png", "c.png"]


WINDOWS = "C:\\scans\\a b.png\r\n\r\n\"D:\\Röntgen 胸部.png\"\r\n  'e.png'  \r\n"
READ = ["C:\\scans\\a b.png", "D:\\Röntgen 胸部.png", "e.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_lists_of_powershell_are_read(encoding, mark):
    assert listed((mark + WINDOWS).encode(encoding)) == READ
    assert listed((mark + WINDOWS).rstrip().encode(encoding)) == READ


def test_two_lists_with_marks_may_follow_each_other():
    assert listed("\ufeffa.png\n\ufeffb.png\n".encode()) == ["a.png", "b.png"]


def test_lines_come_as_they_are_written():
    class Slow(io.RawIOBase):
        def __init__(self, data):
            self.bytes = [data[place : place + 1] for place in range(len(data))]

        def read1(self, size):
            return self.bytes.pop(0) if self.bytes else b""

    slow = Slow("\ufeffa.png\r\n胸.png\r\n".encode("utf-16-le"))
    lines = split_paths(slow, b"\n")
    assert next(lines) == "a.png"
    assert len(slow.bytes) > 10
    assert list(lines) == ["胸.png"]


@pytest.mark.parametrize("name", ['"quoted".png', '"a.png"', " a.png ", "a.png\r", "\ufeffa.png"])
def test_a_file_of_that_very_name_is_meant(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / name).touch()
    assert listed(f"{name}\n".encode()) == [name]


def test_backslashes_separate_folders_where_that_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/a.png").touch()
    assert listed(b'"scans\\a.png"\n.\\none.png') == ["scans/a.png", ".\\none.png"]


def test_names_that_end_in_nul_are_taken_to_the_letter():
    assert listed(b"'a.png'\0 b\r\n\0\0\xff\xfe.png", b"\0") == [
        "'a.png'",
        " b\r\n",
        "\udcff\udcfe.png",
    ]


def test_names_that_end_in_nul_without_the_flag_are_refused():
    with pytest.raises(UsageError, match="hold NUL bytes") as error:
        listed(b"scan-1.png\0scan-2.png\0")
    assert "--null" in error.value.hint


def test_half_a_letter_at_the_end_is_refused():
    with pytest.raises(UsageError, match="cut short"):
        listed("\ufeffa.png\n".encode("utf-16-le")[:-1])


def test_a_name_that_is_not_utf8_comes_back_as_it_was():
    (name,) = listed(b"\xff\xfe.png\n")
    assert os.fsencode(Path(name)) == b"\xff\xfe.png"


def test_a_name_that_no_file_can_have_is_left_to_be_reported():
    assert listed(b"x" * 5000) == ["x" * 5000]

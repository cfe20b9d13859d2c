import io
import os
from pathlib import Path

import pytest
from PIL import Image

from deepchest_cli.prediction.inputs import (
    NOTHING_IN_FOLDER,
    NOTHING_MATCHES,
    Found,
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
        Found(folder / "*.bmp", NOTHING_MATCHES),
    ]


def test_a_name_with_brackets_is_a_name_where_it_exists(folder):
    path = folder / "[brackets].png"
    path.write_bytes(b"x")
    assert list(find_inputs([str(path)])) == [Found(path)]


def test_an_empty_folder_is_said(tmp_path):
    assert list(find_inputs([str(tmp_path)])) == [Found(tmp_path, NOTHING_IN_FOLDER)]


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


def test_listed_paths_need_no_last_end_and_may_end_as_on_windows():
    assert list(split_paths(io.BytesIO(b"a.png\r\n\n b.png \r\nc.png"), b"\n")) == [
        "a.png",
        " b.png ",
        "c.png",
    ]


def test_a_name_that_is_not_utf8_comes_back_as_it_was():
    (name,) = split_paths(io.BytesIO(b"\xff\xfe.png\n"), b"\n")
    assert os.fsencode(Path(name)) == b"\xff\xfe.png"

"""How the files of a source are found: loose, in folders, in archives."""

import io
import shutil
import tarfile
import zipfile

import pytest

from deepchest_cli.data.archives import stream_tar
from deepchest_cli.data.images import LooseFile, find_images
from deepchest_cli.errors import UnreadableRadiographError, UsageError


def test_files_win_over_archives_and_archives_are_found_wherever_they_lie(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"file")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "deep" / "er" / "1.zip", "w") as archive:
        archive.writestr("images/a.png", b"zip")
        archive.writestr("images/b.png", b"zip")
    with tarfile.open(tmp_path / "2.tar", "w") as archive:
        info = tarfile.TarInfo("c.png")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"tar"))
    (tmp_path / "3.tar.gz").touch()
    images = find_images(tmp_path, ["a.png", "b.png", "c.png"])
    assert [images.places[row].read() for row in range(3)] == [b"file", b"zip", b"tar"]
    assert [images.name_of(stream) for stream in images.streams] == ["3.tar.gz"]
    words = "1 in files, 1 in tar archives, 1 in zip archives, to be read from 3.tar.gz"
    assert images.describe() == words


def test_an_image_in_two_archives_is_refused(tmp_path):
    for name in ("1.zip", "2.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.png", b"zip")
    with pytest.raises(UsageError, match="a.png is there twice"):
        find_images(tmp_path, ["a.png", "b.png", "c.png"])


def test_a_file_that_is_gone_or_closed_to_us_is_that_image_only(tmp_path):
    with pytest.raises(UnreadableRadiographError, match="missing"):
        LooseFile(str(tmp_path / "none.png"), 1).read()
    with pytest.raises(UnreadableRadiographError, match="directory"):
        LooseFile(str(tmp_path), 1).read()


def test_the_file_that_the_table_names_is_taken_and_no_other_of_its_name(tmp_path):
    for folder in ("train", "val"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "3.png").write_bytes(folder.encode())
    both = find_images(tmp_path, ["train/3.png", "val/3.png"])
    assert [both.places[row].read() for row in (0, 1)] == [b"train", b"val"]
    one = find_images(tmp_path, ["train/3.png"])
    assert one.places[0].read() == b"train"
    (tmp_path / "train" / "3.png").unlink()
    assert not find_images(tmp_path, ["train/3.png"]).places


def test_two_files_for_one_row_that_differ_are_refused_and_others_do_not_matter(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "thumb.png").write_bytes(folder.encode())
        (tmp_path / folder / "a.png").write_bytes(b"same")
    images = find_images(tmp_path, ["a.png"])
    assert images.places[0].read() == b"same"
    assert any("1 file is there twice with the same bytes" in note for note in images.notes)
    assert any("2 images have no row in the table" in note for note in images.notes)
    (tmp_path / "two" / "a.png").write_bytes(b"other")
    with pytest.raises(UsageError, match="a.png is there twice"):
        find_images(tmp_path, ["a.png"])


def test_a_twin_of_another_length_in_an_archive_is_noted(tmp_path):
    (tmp_path / "a.png").write_bytes(b"file")
    with zipfile.ZipFile(tmp_path / "1.zip", "w") as archive:
        archive.writestr("a.png", b"another")
    images = find_images(tmp_path, ["a.png"])
    assert images.places[0].read() == b"file"
    assert any("with another length, in an archive" in note for note in images.notes)


def test_an_image_twice_in_one_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "1.tar", "w") as archive:
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("a.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(UsageError, match="a.png is there twice"):
        find_images(tmp_path, ["a.png"])


def test_a_broken_archive_is_noted_and_not_used(tmp_path):
    (tmp_path / "a.png").write_bytes(b"file")
    (tmp_path / "notes.zip").write_bytes(b"damaged")
    images = find_images(tmp_path, ["a.png"])
    assert images.places[0].read() == b"file"
    assert any("notes.zip is damaged" in note and "not used" in note for note in images.notes)


def test_a_member_that_is_a_link_is_the_reason_why_its_row_has_none(tmp_path):
    with tarfile.open(tmp_path / "1.tar", "w") as archive:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = tarfile.SYMTYPE, "b.png"
        archive.addfile(info)
    images = find_images(tmp_path, ["a.png"])
    assert not images.places and "is a link" in images.refused[0]


# of the table, of the file
NAMES = {
    "IM0000": "DICOM/ST0/IM0000",  # as PACS and CDs write them
    "p1/IM0001": "p1/IM0001",
    "scan.IMA": "scan.IMA",
    "scan2": "scan2.ima",
    "raw.img": "a/raw.img",  # a suffix that nobody knows
    "1.2.840.113619.2.5.7": "1.2.840.113619.2.5.7",  # a UID
    "1.2.840.113619.2.5.8.dcm": "1.2.840.113619.2.5.8",
    ".\\images\\W1": "images/W1",  # of Windows
    "C:\\data\\study\\W2": "study/W2",
    "./images//./U1": "images/U1",
    "'images/Q1.png'": "images/Q1.png",
}


@pytest.fixture
def folder(tmp_path):
    for name in [*NAMES.values(), "README", "IM0000.txt", "report.xml", "p2/IM0001.json"]:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    return tmp_path / "files"


def pack(folder, how):
    """Put all files into an archive below the folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if how == "zip":
        with zipfile.ZipFile(folder / "all.zip", "w") as archive:
            for path in files:
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(folder / f"all.{how}", "w:gz" if how.endswith("gz") else "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(folder))
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not path.name.startswith("all."):
            path.unlink()


@pytest.mark.parametrize("how", ["files", "zip", "tar"])
def test_every_file_that_a_row_names_is_found_and_nothing_else(folder, how):
    if how != "files":
        pack(folder, how)
    images = find_images(folder, list(NAMES))
    found = {row: images.places[row].read().decode() for row in images.places}
    assert found == {row: f"this is {name}" for row, name in enumerate(NAMES.values())}
    assert images.notes == []


def test_in_a_packed_tar_too(folder):
    pack(folder, "tar.gz")
    images = find_images(folder, list(NAMES))
    (stream,) = images.streams
    names = {name: data.decode() for name, data, _ in stream.walk(lambda name: True)}
    assert names == {name: f"this is {name}" for name in NAMES.values()}
    unnamed = [name for name, *_ in stream_tar(stream.path, lambda name: True)]
    assert sorted(unnamed) == ["images/Q1.png", "scan.IMA", "scan2.ima"]


def test_an_image_by_its_name_comes_before_a_file_that_has_only_the_stem(tmp_path):
    (tmp_path / "a.png").write_text("the image")
    (tmp_path / "a").write_text("something else")
    images = find_images(tmp_path, ["a.png"])
    assert images.places[0].read() == b"the image" and images.notes == []

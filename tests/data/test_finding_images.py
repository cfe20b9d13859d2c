"""Files that a table names are found, whatever they are called."""

import shutil
import tarfile
import zipfile

import pytest

from deepchest_cli.data.archives import stream_tar
from deepchest_cli.data.images import find_images

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

import io
import tarfile
import zipfile

import pytest

from deepchest_cli.data.finding_images import find_images
from deepchest_cli.data.images import Keys, LooseFile, choose_keys
from deepchest_cli.errors import UnreadableRadiographError, UsageError


@pytest.mark.parametrize(
    ("paths", "depth"),
    [
        (["a.png", "b.png"], 1),
        (["p1/s1/v.jpg", "p1/s2/v.jpg"], 2),
        (["p1/s1/v.jpg", "p2/s1/v.jpg", "p2/s1/w.jpg"], 3),
    ],
)
def test_keys_are_as_short_as_they_can_be(paths, depth):
    assert choose_keys(paths) == Keys(depth)


def test_keys_have_no_suffix_and_no_folders_above():
    assert Keys(1)("x/y/00000001_000.PNG") == "00000001_000"
    assert Keys(2)("x/y/view1.jpg") == Keys(2)("y/view1.dcm") == "y/view1"
    assert Keys(1)("1.2.840.113") == "1.2.840.113"


def test_two_rows_for_one_image_are_refused():
    with pytest.raises(UsageError, match="about one image, a"):
        choose_keys(["a.png", "a.jpg"])


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
    images = find_images(tmp_path, Keys(1))
    read = {key: place.read() for key, place in images.places.items()}
    assert read == {"a": b"file", "b": b"zip", "c": b"tar"}
    assert [stream.title for stream in images.streams] == ["3.tar.gz"]
    words = "1 in files, 1 in tar archives, 1 in zip archives, to be read from 3.tar.gz"
    assert images.describe() == words


def test_an_image_in_two_archives_is_refused(tmp_path):
    for name in ("1.zip", "2.zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("a.png", b"zip")
    with pytest.raises(UsageError, match="a.png is there twice"):
        find_images(tmp_path, Keys(1))


def test_a_file_that_is_gone_or_closed_to_us_is_that_image_only(tmp_path):
    with pytest.raises(UnreadableRadiographError, match="missing"):
        LooseFile(str(tmp_path / "none.png")).read()
    with pytest.raises(UnreadableRadiographError, match="directory"):
        LooseFile(str(tmp_path)).read()

import pytest

from deepchest_cli.data.matching import Matcher, is_image_name
from deepchest_cli.errors import UsageError


@pytest.mark.parametrize(
    ("row", "file", "found"),
    [
        ("a.png", "a.png", (0, True)),
        ("a.png", "a.dcm", (0, True)),
        ("a.png", "images_001/images/a.png", (0, False)),
        ("train/a.png", "train/a.png", (0, True)),
        ("./train/a.png", "train/a.png", (0, True)),
        ("train\\a.png", "train/a.png", (0, True)),
        ("/data/train/a.png", "train/a.png", (0, False)),
        ("CheXpert/train/p1/v.jpg", "train/p1/v.jpg", (0, False)),
        ("train/p1/v.jpg", "CheXpert/train/p1/v.jpg", (0, False)),
        ("train/a.png", "val/a.png", None),
        ("train/a.png", "a.png", (0, False)),
        ("a.png", "ba.png", None),
        ("1.2.840.113", "1.2.840.113.dcm", (0, True)),
    ],
)
def test_paths_agree_from_the_end_as_far_as_the_shorter_goes(row, file, found):
    assert Matcher([row]).find(file) == found


def test_the_row_that_agrees_as_a_whole_is_preferred():
    matcher = Matcher(["1.png", "a/1.png"])
    assert matcher.find("1.png") == (0, True)
    assert matcher.find("a/1.png") == (1, True)
    assert matcher.find("b/a/1.png") == (1, False)
    assert matcher.find("b/1.png") == (0, False)


def test_a_file_for_several_rows_is_refused():
    with pytest.raises(UsageError, match=r"v.jpg could be the image of several rows"):
        Matcher(["p1/v.jpg", "p2/v.jpg"]).find("v.jpg")


def test_two_rows_for_one_image_are_refused():
    with pytest.raises(UsageError, match="about one image, x/a"):
        Matcher(["x/a.png", "b.png", "x/a.jpg"])


def test_hidden_twins_of_a_mac_are_no_images():
    assert is_image_name("x/a.PNG") and not is_image_name("x/._a.png")
    assert not is_image_name("a.txt")

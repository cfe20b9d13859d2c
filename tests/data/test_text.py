import pytest

from deepchest_cli.data.text import apart, count_of, p_value


@pytest.mark.parametrize(
    ("number", "noun", "expected"),
    [
        (1, "epoch", "1 epoch"),
        (0, "epoch", "0 epochs"),
        (1200, "radiograph", "1,200 radiographs"),
        (2, "study", "2 studies"),
        (2, "key", "2 keys"),
        (2, "box", "2 boxes"),
        (2, "batch", "2 batches"),
        (2, "process", "2 processes"),
        (1, "process", "1 process"),
        (2, "training image", "2 training images"),
    ],
)
def test_a_noun_agrees_with_its_number(number, noun, expected):
    assert count_of(number, noun) == expected


def test_a_phrase_agrees_with_its_number():
    found = [count_of(number, "image has", "images have") for number in (1, 2)]
    assert found == ["1 image has", "2 images have"]


@pytest.mark.parametrize(
    ("number", "bound", "expected"),
    [
        (0.7, 0.75, ("0.7000", "0.7500")),
        (0.74996, 0.75, ("0.74996", "0.75000")),
        (1 - 1e-12, 1.0, ("0.999999999999", "1.000000000000")),
        (-0.25, 0.5, ("-0.2500", "0.5000")),
        (1e-300, 0.0, ("1e-300", "0.0")),
    ],
)
def test_a_number_is_told_from_its_bound(number, bound, expected):
    assert apart(number, bound, 4) == expected


def test_a_p_value_is_never_zero():
    values = (None, float("nan"), 0.25, 0.001, 0.0004, 1e-12)
    assert list(map(p_value, values)) == ["–", "–", "0.250", "0.001", "< 0.001", "< 0.001"]

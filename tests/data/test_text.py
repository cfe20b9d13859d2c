import pytest

from deepchest_cli.data.text import by_reason, count_of, printable, ranges


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


def test_a_reason_is_said_once_with_what_is_each_names_own():
    found = by_reason([("Mass", "too few (3)"), ("Edema", "equal"), ("Hernia", "too few (7)")])
    assert found == "too few: Mass (3), Hernia (7); equal: Edema"


def test_numbers_in_a_row_are_ranges():
    assert ranges([10, 3, 5, 9, 8, 12, 11]) == "3, 5, 8 to 12"
    assert ranges([1, 2]) == "1, 2"
    assert ranges([1, 2, 3, 5, 6]) == "1 to 3, 5, 6"
    assert ranges([7]) == "7"
    assert ranges([]) == ""


def test_text_for_a_terminal_has_no_character_that_commands_it():
    assert printable("a\x1b[2J\n\u202eé 胸\udcff") == r"a\x1b[2J\n\u202eé 胸\udcff"

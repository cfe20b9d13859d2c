"""Names of images beside lists, in lines as wide as the terminal."""

import pytest
from rich.cells import cell_len

from deepchest_cli.commands.named_lists import LONGEST, named_lists, titles_of
from deepchest_cli.prediction.image_prediction import ImagePrediction

CELLS = [f"Finding_{letter * 20} 0.123" for letter in "abc"]


def titles(*paths):
    return titles_of([ImagePrediction(path=path) for path in paths])


def test_a_name_is_the_files_and_of_equal_ones_the_path():
    assert titles("a/1.png", "b/1.png", "b/2.png") == ["a/1.png", "b/1.png", "2.png"]


def test_long_names_are_shortened_in_the_middle_where_that_tells_them_apart():
    long, other = f"begin-{'x' * 50}-end.png", f"begin-{'y' * 50}-other.png"
    one, two = titles(long, other)
    assert one.startswith("begin-") and one.endswith("-end.png") and "…" in one
    assert cell_len(one) <= LONGEST and one != two
    twins = [f"begin-{'x' * 50}{n}{'y' * 50}-end.png" for n in "12"]
    assert titles(*twins) == twins
    assert cell_len(titles("胸" * 50)[0]) <= LONGEST


def test_what_would_break_a_line_is_escaped():
    assert titles("line\nbreak \x1b[31m胸.png") == ["line\\nbreak \\x1b[31m胸.png"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lists_go_on_in_their_column_and_no_word_is_parted(width):
    long = "n" * (LONGEST + 30)
    rows = [("Image", ["Flagged findings"]), ("a.png", CELLS), ("b.png", ["none flagged"])]
    rows.append((long, CELLS[:1]))
    lines = list(named_lists(rows, width))
    assert all(cell_len(line) <= width for line in lines if line != long)
    text = "\n".join(lines)
    for cell in CELLS:
        assert cell in text
    assert lines[lines.index(long) + 1].strip() == CELLS[0]
    begun = [line for line in lines if line.startswith("a.png")]
    assert len(begun) == 1 and (CELLS[0] in begun[0]) == (width > 40)


def test_wide_letters_keep_the_column():
    lines = list(named_lists([("胸部.png", ["Mass 0.1"]), ("ab.png", ["Edema 0.2"])], 80))
    assert cell_len(lines[0].partition("Mass")[0]) == cell_len(lines[1].partition("Edema")[0])

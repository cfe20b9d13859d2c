import numpy as np
import pytest

from deepchest_cli.reporting.line_chart import Line, colored, merged


def test_fourteen_findings_have_fourteen_colors():
    lines = colored(dict.fromkeys(map(str, range(56)), np.ones(1)))
    assert len({line.color for line in lines[:14]}) == 14


def test_fifty_six_findings_are_told_apart_without_color():
    lines = colored(dict.fromkeys(map(str, range(56)), np.ones(1)))
    assert len({(line.style, line.marker) for line in lines}) == 56


def lines_of(*rows):
    return [Line(f"F{place}", np.array(row), "k") for place, row in enumerate(rows)]


def test_lines_that_never_part_have_one_label_with_their_names():
    lines = merged(lines_of([1.0, 1.2], [1.0, 0.8], [1.001, 1.201], [1.0, np.nan]), 0.01)
    assert [line.label for line in lines] == [
        ["2 findings 1.20", "  F0, F2"], ["F1 0.800"], ["F3 1.00"],
    ]  # fmt: skip
    assert [line.label for line in merged(lines_of([1.0], [1.0]), 0.0)] == [["all 2 findings 1.00"]]


@pytest.mark.parametrize(("logarithmic", "expected"), [(False, 1), (True, 2)])
def test_near_each_other_is_what_is_near_on_the_scale(logarithmic, expected):
    lines = lines_of([0.01, 1.0], [0.02, 1.0])
    assert len(merged(lines, 0.1, logarithmic=logarithmic)) == expected


def test_what_is_undefined_together_is_alike():
    assert len(merged(lines_of([np.nan, 1.0], [np.nan, 1.0], [np.nan, np.nan]), 0.1)) == 2

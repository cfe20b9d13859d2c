import math

import pytest

from deepchest_cli.reporting.numbers import (
    distinguished,
    gigabytes,
    integer,
    interval,
    mean_and_sd,
    number,
    p_value,
    signed,
    significant,
    with_interval,
)

NAN = math.nan


def test_numbers_have_fixed_decimals():
    assert [number(value) for value in (0.5, 1, 0.12345, -0.25)] == [
        "0.500",
        "1.000",
        "0.123",
        "-0.250",
    ]
    assert number(0.12345, 4) == "0.1235"
    assert number(12.6, 0) == "13"


@pytest.mark.parametrize("write", [number, signed, p_value])
@pytest.mark.parametrize("value", [None, NAN])
def test_what_is_undefined_is_a_dash(write, value):
    assert write(value) == "–"


def test_no_number_is_minus_zero_but_a_difference_keeps_its_sign():
    assert number(-0.0001) == "0.000"
    assert (signed(-0.0001), signed(0.25), signed(0.0)) == ("-0.000", "+0.250", "+0.000")


def test_an_interval_stands_in_brackets_where_there_is_one():
    found = {"value": 0.5, "low": 0.25, "high": 0.75}
    assert interval(found) == "0.250 to 0.750"
    assert interval({"low": -0.25, "high": 0.5}, 2, sign=True) == "-0.25 to +0.50"
    assert with_interval(found, 2) == "0.50 (0.25 to 0.75)"
    for missing in (None, NAN):
        nothing = {"value": 0.5, "low": missing, "high": missing}
        assert (interval(nothing), with_interval(nothing)) == ("–", "0.500")
    assert with_interval({"value": NAN, "low": NAN, "high": NAN}) == "–"


def test_counts_sizes_means_and_thresholds():
    assert integer(112120) == "112,120"
    assert (gigabytes(1_500_000_000), gigabytes(None)) == ("1.50 GB", "–")
    assert mean_and_sd({"mean": 0.75, "sd": 0.0125}) == "0.750 ± 0.013"
    assert mean_and_sd({"mean": 0.75, "sd": None}) == "0.750 ± –"
    assert [significant(value) for value in (0.123456, 1.5e-7)] == ["0.1235", "1.5e-07"]


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
    assert distinguished(number, bound, 4) == expected


def test_a_p_value_is_never_zero():
    values = (None, float("nan"), 0.25, 0.001, 0.0004, 1e-12)
    assert list(map(p_value, values)) == ["–", "–", "0.250", "0.001", "< 0.001", "< 0.001"]

"""How numbers are written for people: in pages, the model card, terminal tables and plots."""

from collections.abc import Mapping
from math import isnan
from typing import Any

UNDEFINED = "–"

Found = Mapping[str, Any]  # a value with `low` and `high`, the ends of its interval


def _is_undefined(value: float | None) -> bool:
    return value is None or isnan(value)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed decimals, never -0.000; an undefined one is a dash."""
    return UNDEFINED if _is_undefined(value) else f"{round(value or 0.0, digits) + 0.0:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign; an undefined one is a dash."""
    return UNDEFINED if _is_undefined(value) else f"{value:+.{digits}f}"


def integer(value: int) -> str:
    """Return a count with separators of thousands."""
    return f"{value:,}"


def significant(value: float, digits: int = 4) -> str:
    """Return a number of any magnitude, such as a threshold, by its significant digits."""
    return f"{value:.{digits}g}"


def interval(found: Found, digits: int = 3, *, sign: bool = False) -> str:
    """Return `low to high`; a dash where there is no interval."""
    if _is_undefined(found["low"]):
        return UNDEFINED
    write = signed if sign else number
    return f"{write(found['low'], digits)} to {write(found['high'], digits)}"


def with_interval(found: Found, digits: int = 3, *, sign: bool = False) -> str:
    """Return `value (low to high)`; the value alone where there is no interval."""
    write = signed if sign else number
    value, ends = write(found["value"], digits), interval(found, digits, sign=sign)
    return value if ends == UNDEFINED else f"{value} ({ends})"


def mean_and_sd(found: Found, digits: int = 3) -> str:
    """Return `mean ± standard deviation`."""
    return f"{number(found['mean'], digits)} ± {number(found['sd'], digits)}"


def p_value(value: float | None, digits: int = 3) -> str:
    """Return a p-value, which is never 0; a dash where nothing was tested."""
    if value is None or isnan(value):
        return UNDEFINED
    smallest = 10.0**-digits
    return f"{value:.{digits}f}" if value >= smallest else f"< {smallest:.{digits}f}"


def gigabytes(size: int | None) -> str:
    """Return a number of bytes in gigabytes; a dash where it was not measured."""
    return UNDEFINED if size is None else f"{size / 1e9:.2f} GB"


def distinguished(value: float, bound: float, digits: int) -> tuple[str, str]:
    """Return two different numbers with as many decimals, at least `digits`, as distinguish them.

    So no message says that 0.75 is below 0.75.
    """
    for places in range(digits, 17):
        texts = f"{value:.{places}f}", f"{bound:.{places}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(float(value)), repr(float(bound))

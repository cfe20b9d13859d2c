"""Counts, sizes, times and lists of names in words."""

import re
from collections import Counter
from collections.abc import Iterable

SHOWN = 5  # names listed in a message before it says how many more there are


def few(names: Iterable[object], between: str = ", ") -> str:
    """Return the first names of many, and how many more there are."""
    listed = list(map(str, names))
    shown = between.join(listed[:SHOWN])
    return shown if len(listed) <= SHOWN else f"{shown} and {len(listed) - SHOWN:,} more"


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number of things with their noun in agreement: 1 epoch, 1,200 epochs, 2 studies.

    `one` may be a longer phrase; then `many` is its plural: count_of(n, "image is", "images are").
    """
    return f"{number:,} {one if number == 1 else many or _plural(one)}"


def printable(text: str) -> str:
    """Return text for a terminal: characters that would command it are escaped, as in \\x1b."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers in ascending order, three or more in a row as a range: 3, 5, 8 to 12."""
    parts: list[str] = []
    for first, last in consecutive(sorted(numbers)):
        parts += [f"{first} to {last}"] if last > first + 1 else map(str, range(first, last + 1))
    return ", ".join(parts)


def consecutive(numbers: Iterable[int]) -> list[list[int]]:
    """Return first and last of each range of whole numbers, which are in ascending order."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def by_reason(reasons: Iterable[tuple[str, str]]) -> str:
    """Return names with their reasons, each reason once: `too few: Edema (3), Mass (7); ...`.

    reasons: names and reasons; what stands in brackets at a reason's end goes to its name.
    """
    named: dict[str, list[str]] = {}
    for name, reason in reasons:
        text, bracket, detail = reason.partition(" (")
        named.setdefault(text, []).append(f"{name}{bracket}{detail}")
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in named.items())


def counts_by_reason(reasons: Iterable[tuple[str, str]]) -> str:
    """Return how many names have each reason, the most frequent first: `too few (3), no box (1)`.

    A reason that all have stands alone.
    reasons: names and reasons; what stands in brackets at a reason's end is of its name alone.
    """
    counts = Counter(reason.partition(" (")[0] for _, reason in reasons)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{text} ({count:,})" for text, count in counts.most_common())


def _plural(noun: str) -> str:
    if re.search("(s|x|z|sh|[^o]ch)$", noun):  # an epoch is spoken with a k
        return f"{noun}es"
    return f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"


def size_of(number: float) -> str:
    """Return a number of bytes with its unit."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if number >= 10 or unit == "bytes" else f"{number:.1f} {unit}"


def duration_of(seconds: float) -> str:
    """Return a time in the units that people use for it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

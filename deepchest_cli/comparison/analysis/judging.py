"""Intersection-union tests of a claim that is about several rivals, findings or pairs.

Such a claim says that something is true of each. It *holds* where each one's own test says so:
that all of them err at once is no likelier than that one does, and so nothing is corrected (Berger
1982). It *does not hold* where the opposite is shown for at least one; any of them could show it by
chance, and so these p-values are corrected by Holm. Otherwise it is inconclusive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepchest_cli.evaluation.statistics import (
    INCONCLUSIVE,
    LEVEL,
    NOT_MEASURED,
    Difference,
    holm,
)
from deepchest_cli.reporting.numbers import interval

HOLDS, DOES_NOT_HOLD = "holds", "does not hold"
# of the one-sided tests: what the whole of a 95 % interval lies above is significant
ONE_SIDED = LEVEL / 2


@dataclass(frozen=True)
class Measured:
    """A difference that a claim is about, of one rival, finding or pair."""

    subject: str
    difference: Difference
    excluded: str | None = None  # why it does not count
    largest: float | None = None  # the largest value that was possible


@dataclass(frozen=True)
class Row:
    """What was measured of one rival, finding or pair, and its verdict."""

    subject: str
    estimate: float
    low: float | None  # of the 95 % interval
    high: float | None
    largest: float | None
    p_holds: float | None  # one-sided, of a value that is not above the claimed one
    p_fails: float | None  # one-sided, of one that is not below, corrected by Holm over the rows
    verdict: str
    reason: str | None = None  # why it was not measured or not tested

    def within(self, digits: int = 3, factor: float = 1, sign: bool = False) -> str:
        """Return the interval in brackets, with signs for a difference; nothing without one."""
        if self.low is None or self.high is None:
            return ""
        ends = {"low": factor * self.low, "high": factor * self.high}
        return f" (95 % interval {interval(ends, digits, sign=sign)})"


@dataclass(frozen=True)
class Reading:
    """One way in which a claim can be understood, with its verdict over all rows."""

    reading: str
    holds_above: float  # the claimed value
    fails_below: float  # the same, except where the claim names no size
    verdict: str
    rows: tuple[Row, ...]

    @property
    def counted(self) -> list[Row]:
        """The rows that were measured."""
        return [row for row in self.rows if row.verdict != NOT_MEASURED]

    @property
    def not_measured(self) -> str:
        """Why nothing was measured, as a sentence; empty if something was."""
        reasons = dict.fromkeys(row.reason or "" for row in self.rows)
        return "" if self.counted else f"Not measured: {'; '.join(reasons)}."

    @property
    def untested(self) -> str:
        """Which rows are not counted or have no test, and why, as sentences; empty if none."""
        groups: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row.reason:
                counted = row.verdict != NOT_MEASURED
                missing = "The difference was not tested for" if counted else "Not counted:"
                groups.setdefault((missing, row.reason), []).append(row.subject)
        return "".join(
            f" {missing} {', '.join(subjects)}, because {why}."
            for (missing, why), subjects in groups.items()
        )


def judge(
    reading: str,
    measured: Sequence[Measured],
    holds_above: float,
    fails_below: float | None = None,
    ratios: bool = False,
    unit: str = "seed",
) -> Reading:
    """Return the verdict on the claim that every value is above a bound.

    fails_below: the bound below which it fails, where it is not `holds_above`. ratios: whether the
    differences are of logarithms; the bounds, and what is shown, are ratios. unit: what the
    differences were measured by.
    """
    fails_below = holds_above if fails_below is None else fails_below
    upper, lower = (math.log(b) if ratios else b for b in (holds_above, fails_below))
    scale = math.exp if ratios else float
    untested = [
        one.excluded or one.difference.untested.replace("seed", unit) or None for one in measured
    ]
    tested = list(zip(measured, untested, strict=True))
    p_fails = holm([None if why else m.difference.p_below(lower) for m, why in tested])
    rows = []
    for (one, why), fails in zip(tested, p_fails, strict=True):
        holds = None if why else one.difference.p_above(upper)
        ends = one.difference.interval()
        low, high = map(scale, ends) if ends else (None, None)
        counts = one.excluded is None and math.isfinite(one.difference.estimate)
        verdict = _verdict(holds, fails) if counts else NOT_MEASURED
        estimate = scale(one.difference.estimate)
        rows.append(Row(one.subject, estimate, low, high, one.largest, holds, fails, verdict, why))
    verdict = over_all([row.verdict for row in rows])
    return Reading(reading, holds_above, fails_below, verdict, tuple(rows))


def over_all(verdicts: Sequence[str]) -> str:
    """Return the verdict on a claim from those of its rows that were measured."""
    measured = {verdict for verdict in verdicts if verdict != NOT_MEASURED}
    if not measured:
        return NOT_MEASURED
    if DOES_NOT_HOLD in measured:
        return DOES_NOT_HOLD
    return HOLDS if measured == {HOLDS} else INCONCLUSIVE


def _verdict(p_holds: float | None, p_fails: float | None) -> str:
    if p_fails is not None and p_fails < ONE_SIDED:  # also what is above, by less than matters
        return DOES_NOT_HOLD
    return HOLDS if p_holds is not None and p_holds < ONE_SIDED else INCONCLUSIVE

"""Which columns of a table of predictions are about which finding.

Programs write `Effusion`, and also `prob_Effusion`, `Effusion_prob`, `pred:Effusion`. What all of
these columns begin or end with is taken off; where two such ways name the same findings, nobody
can tell which of them is the prediction.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.affixes import (
    LABELS,
    LOGITS,
    NEGATIONS,
    NONE,
    PROBABILITIES,
    SCORES,
    Affix,
    only_way,
    ways_of_naming,
    without,
    words_of,
)
from deepchest_cli.evaluation.reading.tables import (
    ALIASES,
    OTHERS,
    is_number,
    plain,
    plain_finding,
)

SKIPPED = OTHERS | {alias for aliases in ALIASES.values() for alias in aliases}


@dataclass(frozen=True)
class FindingColumns:
    """The columns of scores by finding, and what a reader should know about the choice."""

    columns: dict[str, str]
    affix: Affix = NONE
    notes: tuple[str, ...] = ()

    def refuse_other_kind(self, logits: bool, path: Path) -> None:
        """Raise `UsageError` where the columns' names contradict the flag --logits."""
        words, column = words_of(self.affix), next(iter(self.columns.values()))
        if words & LOGITS and not logits:
            raise UsageError(f"{path} holds logits by its column {column!r}.", "Add --logits.")
        if words & PROBABILITIES and logits:
            raise UsageError(
                f"--logits: {path} holds probabilities by its column {column!r}.",
                "Leave --logits out.",
            )


def find_finding_columns(
    table: pd.DataFrame, image: str, path: Path, labeled: Iterable[str] = ()
) -> FindingColumns:
    """Return the columns of scores, spelled as the labels, or else NIH, spell their findings.

    labeled: the findings that there are labels for. Raises `UsageError` where a finding has two
    columns, where the columns are labels or negations by their names, and where there are none.
    """
    known = {plain_finding(name): name for name in (*FINDINGS, *labeled)}
    candidates = _candidates(table, image)
    ways = ways_of_naming(candidates, known)
    scores = {affix: of for affix, of in ways.items() if not words_of(affix) & LABELS}
    affix = only_way(scores or ways, path)
    _refuse_labels(affix, ways, path)
    labels = {column for way, of in ways.items() if way not in scores for column in of.values()}
    named: dict[str, str] = {}
    passed: list[str] = []
    for column in candidates:
        name = without(column, affix)
        finding = None if name is None else known.get(plain_finding(name))
        if column in labels or (finding is None and not (name and _has_numbers(table[column]))):
            passed.append(column)
        elif plain(str(name)) not in SKIPPED:
            _add(named, finding or str(name), column, path)
    if not named:
        raise UsageError(
            f"{path} has no column of scores beside {image!r}"
            + (f": {few(passed)} hold no numbers." if passed else "."),
            f"Give one for each finding: {', '.join(FINDINGS[:3])}, ...",
        )
    return FindingColumns(named, affix, tuple(_notes(path, affix, passed)))


def only_labels(
    table: pd.DataFrame, image: str, path: Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a table of labels without what its columns' names have in common, and what is said.

    Beside columns that are called labels those that are not are left out. Raises `UsageError` where
    the columns of labels are called so in two ways.
    """
    ways = ways_of_naming(
        _candidates(table, image), {plain_finding(name): name for name in FINDINGS}
    )
    called = {affix: of for affix, of in ways.items() if words_of(affix) & LABELS}
    if NONE in ways and not called:
        return table, ()
    affix = only_way(called or ways, path)
    if affix == NONE or not words_of(affix) <= SCORES | LABELS:  # another word, another finding
        return table, ()
    passed = [column for way, of in ways.items() if way != affix for column in of.values()]
    kept = table.drop(columns=passed)
    names = {column: name for column in map(str, kept.columns) if (name := without(column, affix))}
    return kept.rename(columns=names), tuple(_notes(path, affix, passed))


def _candidates(table: pd.DataFrame, image: str) -> list[str]:
    """Return the columns that may be about findings."""
    return [
        column
        for column in map(str, table.columns)
        if column != image and plain(column) not in SKIPPED and not _is_index(column)
    ]


def _is_index(column: str) -> bool:
    return plain(column).startswith("unnamed") or not plain(column)


def _has_numbers(cells: "pd.Series[str]") -> bool:
    """Whether any cell of a column is a number: names, dates and sexes are something else."""
    return any(map(is_number, cells.unique()))


def _add(named: dict[str, str], finding: str, column: str, path: Path) -> None:
    if finding in named:
        raise UsageError(
            f"{path}: columns {named[finding]!r} and {column!r} are both {finding}.",
            "Keep one of them.",
        )
    named[finding] = column


def _notes(path: Path, affix: Affix, passed: list[str]) -> list[str]:
    notes = []
    if affix != NONE:
        before, behind = affix
        shown = " and ".join(repr(text) for text in (f"{before}…", f"…{behind}") if text != "…")
        notes.append(f"{path}: the columns of findings are read without {shown}.")
    if passed:
        notes.append(f"{path}: not taken for findings: {few(passed)}.")
    return notes


def _refuse_labels(affix: Affix, ways: dict[Affix, dict[str, str]], path: Path) -> None:
    if words_of(affix) & (LABELS | NEGATIONS):
        column = next(iter(ways[affix].values()))
        raise UsageError(
            f"{path}: columns such as {column!r} are no scores for findings, by their names.",
            "Give probabilities, in columns that are called by their findings.",
        )

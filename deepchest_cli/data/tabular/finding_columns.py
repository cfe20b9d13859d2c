"""What findings are called in the columns of a table: `Effusion`, `prob_Effusion`, `pred:Mass`."""

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from deepchest_cli.data.findings import FINDINGS, finding_key, is_healthy, plain_name
from deepchest_cli.data.tabular.cells import ABSENT, is_number, label_state
from deepchest_cli.data.tabular.columns import has_other_meaning
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError

Affix = tuple[str, str]  # what stands before and behind a finding, in small letters
NONE: Affix = ("", "")
# words of an affix: those that scores are called by, and those by which something else is meant
LOGITS = frozenset(("logit", "logits"))
PROBABILITIES = frozenset(("prob", "proba", "probabilities", "probability", "probs", "sigmoid"))
SCORES = LOGITS | PROBABILITIES | {
    "conf", "confidence", "hat", "model", "out", "output", "outputs", "p", "pred", "predicted",
    "prediction", "predictions", "preds", "score", "scores", "y", "yhat", "ypred",
}  # fmt: skip
LABELS = {"actual", "expert", "groundtruth", "gt", "label", "labels", "target", "targets", "true"}
MASKS = frozenset(("known", "mask"))  # whether there is a label
LABEL, KNOWN = "_label", "_known"  # of a finding, in the tables that evaluate writes
WORDS = SCORES | LABELS | MASKS
NEGATIONS = frozenset(("absent", "excluded", "neg", "negative", "no", "non", "not", "without"))
# between words: signs, and the beginning of a word in capitals
BREAK = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")


def _columns_by_affix(columns: list[str], known: dict[str, str]) -> dict[Affix, dict[str, str]]:
    """Return the columns by what stands around the findings in their names, and by finding."""
    found: dict[Affix, dict[str, str]] = {}
    for column in columns:
        split = _split_name(column, known)
        if split is not None:
            affix, finding = split
            found.setdefault(affix, {}).setdefault(finding, column)
    plainly = found.get(NONE, {}).keys()
    return {
        affix: of
        for affix, of in found.items()
        # beside findings as they are, only a way to name the same ones again is one
        if affix == NONE
        or (plainly and of.keys() <= plainly and _words_of(affix) & WORDS)
        or (not plainly and (len(of) > 1 or _words_of(affix) <= WORDS))
    }


def _names_of(candidates: list[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Return the names of findings by their keys: NIH's, others, and those beside their labels."""
    beside = (name for name in candidates if f"{name}{LABEL}" in candidates)
    return {finding_key(name): name for name in (*beside, *FINDINGS, *others)}


def _only_affix(ways: dict[Affix, dict[str, str]], path: Path) -> Affix:
    """Return the one way in which columns name findings; `NONE` where there is none."""
    if len(ways) > 1:
        one, other = (next(iter(of.values())) for of in list(ways.values())[:2])
        raise UsageError(
            f"{path} names findings in two ways, as {one!r} and as {other!r}: which of them are "
            "meant is not clear.",
            "Keep the columns of one kind.",
        )
    return next(iter(ways), NONE)


def _split_name(column: str, known: dict[str, str]) -> tuple[Affix, str] | None:
    """Return what stands around the longest finding in a column's name, and the finding."""
    text = column.strip()
    breaks = [(0, 0), *(match.span() for match in BREAK.finditer(text)), (len(text), len(text))]
    parts = [
        (start, end)
        for first, (_, start) in enumerate(breaks)
        for end, _ in breaks[first + 1 :]
        if finding_key(text[start:end]) in known
    ]
    if not parts:
        return None
    sizes = [(len(plain_name(text[start:end])), start - end) for start, end in parts]
    start, end = parts[sizes.index(max(sizes))]
    return (text[:start].lower(), text[end:].lower()), finding_key(text[start:end])


def _without(column: str, affix: Affix) -> str | None:
    """Return a column's name without an affix; None where it has another one."""
    before, behind = affix
    text = column.strip()
    small = text.lower()
    fits = len(text) >= len(before) + len(behind)
    if not (fits and small.startswith(before) and small.endswith(behind)):
        return None
    return text[len(before) : len(text) - len(behind)]


def _words_of(affix: Affix) -> set[str]:
    return {word for text in affix for word in re.split(r"[\W_\d]+", text) if word}


@dataclass(frozen=True)
class FindingColumns:
    """The columns of scores by finding, and what a reader should know about the choice."""

    columns: dict[str, str]
    affix: Affix = NONE
    notes: tuple[str, ...] = ()
    unlabeled: tuple[str, ...] = ()  # columns of numbers that the labels do not have

    def refuse_other_kind(self, logits: bool, path: Path) -> None:
        """Raise `UsageError` where the columns' names contradict the flag --logits."""
        words, column = _words_of(self.affix), next(iter(self.columns.values()))
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

    labeled: the findings that there are labels for. Where there are any, other columns of numbers
    than theirs and NIH's are passed over: they may be an epoch or a loss. Raises `UsageError` where
    a finding has two columns, where the columns are labels or negations by their names, and where
    there are none.
    """
    candidates, wanted = _candidates(table, {image}), tuple(labeled)
    known = _names_of(candidates, wanted)
    ways = _columns_by_affix(candidates, known)
    scores = {affix: of for affix, of in ways.items() if not _words_of(affix) & (LABELS | MASKS)}
    affix = _only_affix(scores or ways, path)
    _refuse_labels(affix, ways, path)
    labels = {column for way, of in ways.items() if way not in scores for column in of.values()}
    named: dict[str, str] = {}
    passed: list[str] = []
    unlabeled: list[str] = []
    for column in candidates:
        name = _without(column, affix)
        finding = None if name is None else known.get(finding_key(name))
        if column in labels or (finding is None and not (name and _has_numbers(table[column]))):
            passed.append(column)
        elif finding is None and wanted:
            unlabeled.append(str(name))
        elif not _is_no_finding(str(name)):
            _add(named, finding or str(name), column, path)
    if not named:
        _refuse_no_scores(image, passed, unlabeled, wanted, path)
    notes = _notes(path, affix, passed)
    if unlabeled:
        notes.append(f"{path}: not scored, as there are no labels for it: {few(unlabeled)}.")
    return FindingColumns(named, affix, tuple(notes), tuple(unlabeled))


def _refuse_no_scores(
    image: str, passed: list[str], unlabeled: list[str], labeled: Sequence[str], path: Path
) -> NoReturn:
    if unlabeled:
        raise UsageError(
            f"{path} has no finding that there are labels for: its columns of numbers are "
            f"{few(unlabeled)}, and labels are there for {few(labeled)}.",
            "Give the labels of these findings.",
        )
    raise UsageError(
        f"{path} has no column of scores beside {image!r}"
        + (f": {few(passed)} hold no numbers." if passed else "."),
        f"Give one for each finding: {', '.join(FINDINGS[:3])}, ...",
    )


def without_affix(
    table: pd.DataFrame, taken: Set[str], path: Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return a table of labels without what its columns' names have in common, and what is said.

    taken: columns that are something else. Where some columns are called labels, other columns of
    findings are left out. A label is blank where a column of its mask (`Mass_known`) is 0. Raises
    `UsageError` where columns are called labels in two ways.
    """
    candidates = _candidates(table, taken)
    ways = _columns_by_affix(candidates, _names_of(candidates))
    masks = {affix: of for affix, of in ways.items() if _words_of(affix) & MASKS}
    ways = {affix: of for affix, of in ways.items() if affix not in masks}
    called = {affix: of for affix, of in ways.items() if _words_of(affix) & LABELS}
    plain = NONE in ways and not called
    affix = NONE if plain else _only_affix(called or ways, path)
    if not _words_of(affix) <= SCORES | LABELS:  # another word, another finding
        affix = NONE
    table = _masked(table, ways.get(affix, {}), masks.values())
    masked = [column for of in masks.values() for column in of.values()]
    if affix == NONE:
        return table.drop(columns=masked), tuple(_notes(path, affix, masked))
    passed = [column for way, of in ways.items() if way != affix for column in of.values()]
    passed += masked
    names = {column: name for column in candidates if (name := _without(column, affix))}
    return table.drop(columns=passed).rename(columns=names), tuple(_notes(path, affix, passed))


def _masked(
    table: pd.DataFrame, labels: dict[str, str], masks: Iterable[dict[str, str]]
) -> pd.DataFrame:
    """Return a table whose labels are blank where a mask is 0; columns are by finding."""
    blank = {
        labels[finding]: table[labels[finding]].mask(table[mask].map(label_state) == ABSENT, "")
        for of in masks
        for finding, mask in of.items()
        if finding in labels
    }
    return table.assign(**blank)


def _candidates(table: pd.DataFrame, taken: Set[str]) -> list[str]:
    columns = map(str, table.columns)
    return [column for column in columns if column not in taken and not _is_no_finding(column)]


def _is_no_finding(name: str) -> bool:
    return has_other_meaning(name) or is_healthy(name)


def _has_numbers(cells: "pd.Series[str]") -> bool:
    """Whether any cell of a column is a number: names, dates and sexes are something else."""
    return any(map(is_number, cells.unique()))


def _add(named: dict[str, str], finding: str, column: str, path: Path) -> None:
    if finding in named:
        both = f"columns {named[finding]!r} and {column!r} are both {finding}."
        raise UsageError(f"{path}: {both}", "Keep one of them.")
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
    if _words_of(affix) & (LABELS | NEGATIONS):
        column = next(iter(ways[affix].values()))
        raise UsageError(
            f"{path}: columns such as {column!r} are no scores for findings, by their names.",
            "Give probabilities, in columns that are called by their findings.",
        )

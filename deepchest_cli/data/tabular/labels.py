"""Columns of labels: which they are, what findings they are about, how doubtful cells are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import finding_key
from deepchest_cli.data.tabular.cells import (
    ABSENT,
    BLANK,
    PRESENT,
    UNCERTAIN,
    each_text,
    label_state,
)
from deepchest_cli.data.tabular.tables import row_number
from deepchest_cli.errors import UsageError, unknown_name

NO_DISEASE = frozenset({"Support Devices"})  # may be there beside "No Finding"

Doubt = Literal["ignore", "zero", "one"]
DOUBTS: tuple[Doubt, ...] = get_args(Doubt)
# the mix that is usual after Irvin et al., AAAI 2019, whose best policy differs from finding to
# finding, as far as a policy is a reading of labels (U-MultiClass and U-SelfTrained are none)
MIXES = {
    "chexpert-paper": "Atelectasis=one,Cardiomegaly=zero,Consolidation=zero,Edema=one,Effusion=one"
}


@dataclass(frozen=True)
class Policy:
    """How cells that say neither yes nor no are read: as unknown, absent or present."""

    uncertain: Doubt = "ignore"
    blank: Doubt = "ignore"
    by_finding: Mapping[str, Doubt] = field(default_factory=dict)  # of uncertain ones, by its key
    named: tuple[str, ...] = ()  # findings that a person named

    def of(self, finding: str) -> Doubt:
        """Return how an uncertain label of a finding is read."""
        return self.by_finding.get(finding_key(finding), self.uncertain)

    def describe(self, findings: Iterable[str]) -> dict[str, str]:
        """Return the policies for a manifest, with the findings that are read in another way."""
        others = [f"{one}={self.of(one)}" for one in findings if self.of(one) != self.uncertain]
        return {"uncertain": ",".join([*others, self.uncertain]), "blank": self.blank}

    def refuse_others(self, findings: Sequence[str]) -> None:
        """Raise `UsageError` for a finding that a person named and that is none of these."""
        keys = set(map(finding_key, findings))
        for name in self.named:
            if finding_key(name) not in keys:
                unknown = unknown_name("finding", name, findings)
                raise UsageError(f"--uncertain: {unknown.message}", unknown.hint)


def read_policy(uncertain: str, blank: Doubt) -> Policy:
    """Return the policies of `--uncertain`, such as `Edema=one,ignore`, and of `--blank`."""
    default: list[Doubt] = []
    by_finding: dict[str, Doubt] = {}
    named: list[str] = []
    parts = [part.strip() for part in uncertain.split(",") if part.strip()]
    for mix in [part for part in parts if part in MIXES]:
        by_finding |= read_policy(MIXES[mix], blank).by_finding
    for part in [part for part in parts if part not in MIXES]:
        finding, is_for, reading = (word.strip() for word in part.rpartition("="))
        if reading not in DOUBTS:
            unknown = unknown_name("policy", reading, DOUBTS if is_for else (*DOUBTS, *MIXES))
            raise UsageError(f"--uncertain: {unknown.message}", unknown.hint)
        doubt = DOUBTS[DOUBTS.index(reading)]
        if not is_for:
            default.append(doubt)
            continue
        if finding_key(finding) in map(finding_key, named):
            raise UsageError(f"--uncertain names {finding!r} twice.", "Keep one of the two.")
        named.append(finding)
        by_finding[finding_key(finding)] = doubt
    if len(default) > 1:
        raise UsageError(
            f"--uncertain gives two policies for all findings: {default[0]} and {default[1]}.",
            "Keep one of them, or write FINDING=POLICY.",
        )
    return Policy(default[0] if default else "ignore", blank, by_finding, tuple(named))


@dataclass(frozen=True)
class LabelTable:
    """What a table says of N images and T findings."""

    findings: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, T), 1: present
    known: NDArray[np.uint8]  # (N, T), 0: the table says nothing
    contradictory: int  # images with both `No Finding` and a finding
    notes: tuple[str, ...] = ()


def read_cells(column: "pd.Series[str]", path: Path) -> NDArray[np.int8]:
    """Return PRESENT, ABSENT, UNCERTAIN or BLANK for each cell (N,); errors name the row."""
    states = each_text(column, label_state)
    wrong = np.flatnonzero(states.isna().to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(column, wrong[0])}: column {column.name!r} should be 1, 0, "
            f"-1 (uncertain) or blank. Found {column.iloc[wrong[0]]!r}.",
            "Correct the cell, or leave the column out: prepare --label-columns A,B,C names those "
            "of labels.",
        )
    return np.asarray(states, dtype=np.int8)


def read_terms(
    column: "pd.Series[str]", terms_of: Callable[[str], Iterable[str]]
) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Return the distinct terms of lists (L,) in order, and PRESENT or ABSENT for each (N, L).

    Each distinct text is parsed once; an image without terms is BLANK: nothing is said of it.
    """
    codes, texts = pd.factorize(column)
    lists = [frozenset(terms_of(text)) for text in texts]
    names = tuple(sorted(set().union(*lists)))
    place = {name: number for number, name in enumerate(names)}
    states = np.empty((len(lists), len(names)), dtype=np.int8)
    for row, terms in enumerate(lists):
        states[row] = ABSENT if terms else BLANK
        states[row, [place[term] for term in terms]] = PRESENT
    return names, states[codes]


def looks_like_labels(column: "pd.Series[str]") -> bool:
    """Whether every cell of a column is one of a label's, and some cell says something."""
    states = {label_state(str(text)) for text in column.unique()}
    return None not in states and states != {BLANK}


def has_labels(column: "pd.Series[str]") -> bool:
    """Whether some cell of a column is one of a label's, a blank one too."""
    return any(label_state(str(text)) is not None for text in column.unique())


def not_taken(raw: pd.DataFrame, columns: Iterable[str]) -> tuple[str, ...]:
    """Return a note for each column that few cells keep from being one of labels, and the others.

    columns: those that are not taken and have no other meaning.
    """
    notes, others = [], []
    for name in columns:
        states = each_text(raw[name], label_state)
        odd = states.isna().to_numpy()
        some = states.isin((PRESENT, ABSENT, UNCERTAIN)).any()
        if 0 < odd.sum() <= len(raw) / 10 and some:
            row = int(np.flatnonzero(odd)[0])
            number, cell = row_number(raw, row), raw[name].iloc[row]
            notes.append(f"Column {name!r} is not taken: row {number} holds {cell!r}.")
        else:
            others.append(name if odd.any() else f"{name} (empty)")
    listed = f"Columns that are not taken, since they hold no labels: {', '.join(others)}."
    return (*notes, *(listed,) * bool(others))

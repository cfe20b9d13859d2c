"""Columns of labels: which they are, what findings they are about, how doubtful cells are read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import NO_FINDING, finding_name, is_healthy
from deepchest_cli.data.tabular.cells import (
    ABSENT,
    BLANK,
    PRESENT,
    UNCERTAIN,
    each_text,
    label_state,
)
from deepchest_cli.data.tabular.tables import row_number
from deepchest_cli.errors import UsageError

NO_DISEASE = frozenset({"Support Devices"})  # may be there beside "No Finding"

Doubt = Literal["ignore", "zero", "one"]


@dataclass(frozen=True)
class Policy:
    """How cells that say neither yes nor no are read: as unknown, absent or present."""

    uncertain: Doubt = "ignore"
    blank: Doubt = "ignore"


@dataclass(frozen=True)
class LabelTable:
    """What a table says of N images and T findings."""

    findings: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, T), 1: present
    known: NDArray[np.uint8]  # (N, T), 0: the table says nothing
    contradictory: int  # images with both `No Finding` and a finding


def read_label_columns(
    raw: pd.DataFrame, columns: Iterable[str], path: Path, policy: Policy | None = None
) -> LabelTable:
    """Return the labels of columns; a healthy image has no finding where a column is blank.

    Raises `UsageError` naming row and column for what is no label, where two columns are about one
    finding, and where there is no column of labels.
    """
    chosen = [name for name in columns if not is_healthy(name)]
    findings = name_findings(chosen, path)
    cells = np.stack([read_cells(raw[name], path) for name in chosen], axis=1)
    healthy = np.zeros(len(raw), dtype=bool)
    for name in map(str, raw.columns):
        if is_healthy(name) and looks_like_labels(raw[name]):
            healthy |= read_cells(raw[name], path) == PRESENT
    disease = np.array([name not in NO_DISEASE for name in findings])
    cells = np.where(healthy[:, None] & disease & (cells == BLANK), ABSENT, cells)
    labels, known = cells == PRESENT, cells >= ABSENT
    policy = policy or Policy()
    for state, reading in ((UNCERTAIN, policy.uncertain), (BLANK, policy.blank)):
        if reading != "ignore":
            known |= cells == state
            labels |= (cells == state) & (reading == "one")
    contradictory = int((healthy & labels[:, disease].any(axis=1)).sum())
    return LabelTable(findings, labels.astype(np.uint8), known.astype(np.uint8), contradictory)


def name_findings(columns: list[str], path: Path) -> tuple[str, ...]:
    """Return the findings of label columns; none, and two columns for one, are an error."""
    names = [finding_name(column) for column in columns]
    for name in names:
        same = [column for column, its in zip(columns, names, strict=True) if its == name]
        if len(same) > 1:
            raise UsageError(
                f"{path}: the columns {', '.join(map(repr, same))} are all about {name!r}.",
                "Keep one of them, or name it: prepare --label-columns A,B,C",
            )
    if not names:
        raise UsageError(
            f"{path} has no column of labels (1, 0, -1 or blank) besides {NO_FINDING!r}.",
            "Give a column for each finding, or name them: prepare --label-columns A,B,C",
        )
    return tuple(names)


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

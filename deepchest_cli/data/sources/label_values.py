"""Columns of labels: which they are, how doubtful cells are read, what findings are called."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.cells import (
    ABSENT,
    BLANK,
    PRESENT,
    UNCERTAIN,
    each_text,
    label_state,
)
from deepchest_cli.data.findings import FINDINGS, NO_FINDING
from deepchest_cli.data.sources.tables import row_number
from deepchest_cli.errors import UsageError

# what other data sets call the findings of NIH, in small letters and without underscores
SPELLINGS = {name.lower().replace("_", " "): name for name in FINDINGS} | {
    "pleural effusion": "Effusion",
    "pulmonary fibrosis": "Fibrosis",
    "pulmonary edema": "Edema",
    "hiatal hernia": "Hernia",
    "infiltrate": "Infiltration",
    "infiltrates": "Infiltration",
    "pleural": "Pleural_Thickening",
}
HEALTHY = frozenset({"no finding", "nofinding", "normal"})
NO_DISEASE = frozenset({"Support Devices"})  # may be there beside "No Finding"
LONGEST_FINDING = 32  # bytes in a shard

Doubt = Literal["ignore", "zero", "one"]


@dataclass(frozen=True)
class Policy:
    """How cells that say neither yes nor no are read: as unknown, absent or present."""

    uncertain: Doubt = "ignore"
    blank: Doubt = "ignore"


def finding_name(column: str) -> str:
    """Return NIH's name of a finding where it has one, else the column's own."""
    return SPELLINGS.get(column.strip().lower().replace("_", " "), column.strip())


def is_healthy(column: str) -> bool:
    """Whether a column says that nothing was found, which is no finding."""
    return column.strip().lower().replace("_", " ") in HEALTHY


def looks_like_labels(column: "pd.Series[str]") -> bool:
    """Whether every cell of a column is one of a label's, and some cell says something."""
    states = {label_state(str(text)) for text in column.unique()}
    return None not in states and states != {BLANK}


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


def read_cells(column: "pd.Series[str]", path: Path) -> NDArray[np.int8]:
    """Return PRESENT, ABSENT, UNCERTAIN or BLANK for each cell (N,); errors name the row."""
    states = each_text(column, label_state)
    wrong = np.flatnonzero(states.isna().to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(column, wrong[0])}: column {column.name!r} should be 1, 0, "
            f"-1 (uncertain) or blank. Found {column.iloc[wrong[0]]!r}.",
            "--label-columns A,B,C names the columns of labels.",
        )
    return np.asarray(states, dtype=np.int8)


def resolve(
    cells: NDArray[np.int8],
    healthy: NDArray[np.bool_],
    findings: tuple[str, ...],
    policy: Policy,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return labels and known (N, T) for cells (N, T); a healthy image (N,) has no finding."""
    disease = np.array([name not in NO_DISEASE for name in findings])
    cells = np.where(healthy[:, None] & disease & (cells == BLANK), ABSENT, cells)
    labels, known = cells == PRESENT, cells >= ABSENT
    for state, reading in ((UNCERTAIN, policy.uncertain), (BLANK, policy.blank)):
        if reading != "ignore":
            known |= cells == state
            labels |= (cells == state) & (reading == "one")
    return labels.astype(np.uint8), known.astype(np.uint8)


def name_findings(columns: list[str], path: Path) -> tuple[str, ...]:
    """Return the findings of label columns; two columns for one finding are an error."""
    names = [finding_name(column) for column in columns]
    for name, column in zip(names, columns, strict=True):
        same = [other for other, its in zip(columns, names, strict=True) if its == name]
        if len(same) > 1:
            raise UsageError(
                f"{path}: the columns {', '.join(map(repr, same))} are all about {name!r}.",
                "Name one of them: --label-columns",
            )
        if len(name) > LONGEST_FINDING or not name.isascii():
            raise UsageError(
                f"{path}: column {column!r} is not plain ASCII of at most {LONGEST_FINDING} "
                "characters.",
                "Rename it, or name the columns of labels: --label-columns A,B,C",
            )
    return tuple(names)


def check_no_finding(names: tuple[str, ...], path: Path) -> None:
    """Raise `UsageError` where no column of labels is left."""
    if not names:
        raise UsageError(
            f"{path} has no column of labels (1, 0, -1 or blank) besides {NO_FINDING!r}.",
            "--label-columns A,B,C names them.",
        )

"""Cells of label tables: present, absent, uncertain or blank; and what findings are called."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS, NO_FINDING
from deepchest_cli.errors import UsageError

PRESENT, ABSENT, UNCERTAIN, BLANK = 1, 0, -1, -2
CELLS = {
    "1": PRESENT, "1.0": PRESENT, "true": PRESENT, "yes": PRESENT, "y": PRESENT,
    "0": ABSENT, "0.0": ABSENT, "false": ABSENT, "no": ABSENT, "n": ABSENT,
    "-1": UNCERTAIN, "-1.0": UNCERTAIN,
    "": BLANK, "nan": BLANK,
}  # fmt: skip
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
    cells = {str(text).strip().lower() for text in column.unique()}
    return cells <= CELLS.keys() and bool(cells - {"", "nan"})


def nearly_labels(raw: pd.DataFrame) -> tuple[str, ...]:
    """Return a note for each column that a few cells keep from being one of labels."""
    notes = []
    for name in raw.columns:
        odd = ~raw[name].str.lower().isin(CELLS).to_numpy()
        plain = raw[name][~odd]
        if 0 < odd.sum() <= len(raw) / 10 and (plain != "").any():
            row = int(np.flatnonzero(odd)[0])
            cell = raw[name].iloc[row]
            notes.append(f"Column {name!r} is not taken: row {row + 2} holds {cell!r}.")
    return tuple(notes)


def read_cells(column: "pd.Series[str]", path: Path) -> NDArray[np.int8]:
    """Return PRESENT, ABSENT, UNCERTAIN or BLANK for each cell (N,); errors name the row."""
    texts = column.str.strip().str.lower()
    wrong = np.flatnonzero(~texts.isin(CELLS).to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {wrong[0] + 2}: column {column.name!r} should be 1, 0, -1 (uncertain) or "
            f"blank. Found {column.iloc[wrong[0]]!r}.",
            "--label-columns A,B,C names the columns of labels.",
        )
    return np.asarray(texts.map(CELLS), dtype=np.int8)


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
                "Rename it.",
            )
    return tuple(names)


def check_no_finding(names: tuple[str, ...], path: Path) -> None:
    """Raise `UsageError` where no column of labels is left."""
    if not names:
        raise UsageError(
            f"{path} has no column of labels (1, 0, -1 or blank) besides {NO_FINDING!r}.",
            "--label-columns A,B,C names them.",
        )

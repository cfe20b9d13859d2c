"""Predictions of any model: an image column and a column for each finding, in any order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.splits import PARTS
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.medmnist import is_medmnist, read_medmnist
from deepchest_cli.evaluation.reading.tables import (
    ALIASES,
    OTHERS,
    find_column,
    image_column,
    image_keys,
    numbers,
    plain,
    plain_finding,
    read_table,
)

PART_NAMES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class Scores:
    """What a model gave to N images for T findings."""

    path: Path
    images: NDArray[np.str_]  # (N,), without folder and ending
    findings: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (N, T)
    parts: NDArray[np.str_] | None = None  # (N,), where the file says

    def of_part(self, part: str) -> "Scores | None":
        """Return the scores of a part; all where the file names no parts, None without an image."""
        if self.parts is None:
            return self
        rows = np.flatnonzero(self.parts == part)
        if not len(rows):
            return None
        return Scores(self.path, self.images[rows], self.findings, self.probabilities[rows])


def read_scores(path: Path, logits: bool = False) -> Scores:
    """Read a file of predictions: a CSV table, or one that MedMNIST's evaluator writes.

    logits: whether the scores are logits, of which the logistic function is taken. Raises
    `UsageError` for scores that are missing, not finite or no probabilities, naming the cell, for
    repeated images and findings, and where there is no score at all.
    """
    if is_medmnist(path):
        images, scores = read_medmnist(path)
        return Scores(path, images, FINDINGS, _probabilities(scores, FINDINGS, path, logits, 1))
    table = read_table(path)
    column = image_column(table, path)
    images = image_keys(list(table[column]), path)
    found = _finding_columns(table, column, path)
    scores = np.stack([numbers(table[name], name, path) for name in found.values()], axis=1)
    return Scores(
        path,
        images,
        tuple(found),
        _probabilities(scores, tuple(found), path, logits, 2),
        _parts(table, path),
    )


def _finding_columns(table: pd.DataFrame, image: str, path: Path) -> dict[str, str]:
    """Return the columns of scores by finding, NIH's spelling where it is one of NIH's."""
    known = {plain_finding(name): name for name in FINDINGS}
    skipped = OTHERS | {alias for aliases in ALIASES.values() for alias in aliases}
    found: dict[str, str] = {}
    for column in map(str, table.columns):
        name = plain(column)
        if column == image or name in skipped or name.startswith("unnamed") or not name:
            continue
        finding = known.get(plain_finding(column), column)
        if finding in found:
            raise UsageError(
                f"{path}: columns {found[finding]!r} and {column!r} are both {finding}.",
                "Keep one of them.",
            )
        found[finding] = column
    if not found:
        raise UsageError(
            f"{path} has no column of scores beside {image!r}.",
            f"Give one for each finding: {', '.join(FINDINGS[:3])}, ...",
        )
    return found


def _parts(table: pd.DataFrame, path: Path) -> NDArray[np.str_] | None:
    column = find_column(table, "split")
    if column is None:
        return None
    parts = [PART_NAMES.get(text, text) for text in table[column].str.strip().str.lower()]
    wrong = next((i for i, part in enumerate(parts) if part not in PARTS), None)
    if wrong is not None:
        raise UsageError(
            f"{path}, row {wrong + 2}, column {column!r}: found {table[column].iloc[wrong]!r}.",
            f"Parts are {', '.join(PARTS)}.",
        )
    return np.array(parts, dtype=str)


def _probabilities(
    scores: NDArray[np.float64], findings: tuple[str, ...], path: Path, logits: bool, first_row: int
) -> NDArray[np.float64]:
    broken = np.argwhere(~np.isfinite(scores))
    if len(broken):
        row, column = broken[0]
        raise UsageError(
            f"{path}, row {row + first_row}: the score for {findings[column]} is "
            f"{scores[row, column]}" + _others(len(broken)),
            "Scores have to be finite: look for what the model could not compute.",
        )
    if logits:
        probabilities = np.asarray(np.exp(-np.logaddexp(0.0, -scores)))
        _refuse_saturation(scores, probabilities, findings, path)
        return probabilities
    outside = np.argwhere((scores < 0) | (scores > 1))
    if len(outside):
        row, column = outside[0]
        raise UsageError(
            f"{path}, row {row + first_row}: the score for {findings[column]} is "
            f"{scores[row, column]:g}, outside 0 to 1" + _others(len(outside)),
            "If these are logits, say so: --logits. Otherwise scale them to probabilities.",
        )
    return scores


def _refuse_saturation(
    scores: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    findings: tuple[str, ...],
    path: Path,
) -> None:
    """Logits above about 37 all give 1: a ranking by probabilities would tie them."""
    for column, finding in enumerate(findings):
        if len(np.unique(probabilities[:, column])) < len(np.unique(scores[:, column])):
            raise UsageError(
                f"{path}: logits for {finding} of up to {scores[:, column].max():g} are too large "
                "to be told apart as probabilities.",
                "Divide them by a number that keeps them below 30, or give other scores.",
            )


def _others(count: int) -> str:
    return f"; {count - 1:,} other scores are so too." if count > 1 else "."

"""Predictions of any model: an image column and a column for each finding, in any order."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.splits import PARTS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.finding_columns import find_finding_columns
from deepchest_cli.evaluation.reading.medmnist import is_medmnist, read_medmnist
from deepchest_cli.evaluation.reading.tables import (
    find_column,
    image_column,
    image_keys,
    numbers,
    read_table,
)

ROUNDING = 1e-6  # of single precision: 1.0000001 is 1
PERCENT = 0.5  # of percentages most are above 1
PART_NAMES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class Scores:
    """What a model gave to N images for T findings."""

    path: Path
    images: NDArray[np.str_]  # (N,), without folder and ending
    findings: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (N, T)
    parts: NDArray[np.str_] | None = None  # (N,), where the file says
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def of_part(self, part: str) -> "Scores | None":
        """Return the scores of a part; all where the file names no parts, None without an image."""
        if self.parts is None:
            return self
        rows = np.flatnonzero(self.parts == part)
        if not len(rows):
            return None
        return Scores(self.path, self.images[rows], self.findings, self.probabilities[rows])


def read_scores(path: Path, logits: bool = False, labeled: Iterable[str] = ()) -> Scores:
    """Read a file of predictions: a CSV table, or one that MedMNIST's evaluator writes.

    logits: whether the scores are logits, of which the logistic function is taken; labeled: the
    findings that there are labels for. Raises `UsageError` for scores that are missing, not finite
    or no probabilities, naming the cell, for repeated images and findings, and where there is no
    score at all.
    """
    if is_medmnist(path):
        images, scores = read_medmnist(path)
        return Scores(path, images, FINDINGS, _probabilities(scores, FINDINGS, path, logits, 1))
    table = read_table(path)
    column = image_column(table, path)
    images = image_keys(list(table[column]), path)
    found = find_finding_columns(table, column, path, labeled)
    found.refuse_other_kind(logits, path)
    columns = found.columns
    scores = np.stack([numbers(table[name], name, path) for name in columns.values()], axis=1)
    return Scores(
        path,
        images,
        tuple(columns),
        _probabilities(scores, tuple(columns), path, logits, 2),
        _parts(table, path),
        found.notes,
        _doubtful(scores, path) if logits else (),
    )


def _doubtful(logits: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """Probabilities that are taken for logits would all come out between 0.5 and 0.73."""
    if logits.min() < 0 or logits.max() > 1:
        return ()
    return (f"--logits: all scores of {path} lie from 0 to 1, as probabilities do.",)


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
    outside = np.argwhere((scores < -ROUNDING) | (scores > 1 + ROUNDING))
    if len(outside):
        row, column = outside[0]
        raise UsageError(
            f"{path}, row {row + first_row}: the score for {findings[column]} is "
            f"{scores[row, column]}, outside 0 to 1" + _others(len(outside)),
            _scale(scores),
        )
    return scores.clip(0, 1)


def _scale(scores: NDArray[np.float64]) -> str:
    """Return what scores outside 0 to 1 may be, and what to do with them."""
    if scores.min() >= 0 and np.quantile(scores, PERCENT) > 1 and scores.max() <= 100:
        return (
            "They look like percentages: divide them by 100. If they are logits, say so: --logits."
        )
    return "If these are logits, say so: --logits. Otherwise scale them to probabilities."


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
    if count == 1:
        return "."
    return f"; {count_of(count - 1, 'other score is', 'other scores are')} so too."

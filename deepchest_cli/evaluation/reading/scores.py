"""Predictions of any model: an image column and a column for each finding, in any order."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.tabular.cells import read_splits
from deepchest_cli.data.tabular.columns import (
    ROLES,
    choose_column,
    decimal_numbers,
    image_column,
    image_keys,
    read_studies,
)
from deepchest_cli.data.tabular.finding_columns import find_finding_columns
from deepchest_cli.data.tabular.tables import blank_rows, read_table, row_number, said
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.medmnist import is_medmnist, read_medmnist

ROUNDING = 1e-6  # of single precision: 1.0000001 is 1
MODEL = "model_sha256"  # a column of `deepchest predict`
FOLD = "fold"  # a column of out-of-fold predictions
PERCENT = 0.5  # of percentages most are above 1


@dataclass(frozen=True)
class Scores:
    """What a model gave to N images for T findings."""

    path: Path
    images: NDArray[np.str_]  # (N,), without folder and ending
    findings: tuple[str, ...]
    probabilities: NDArray[np.float64]  # (N, T)
    splits: NDArray[np.str_] | None = None  # (N,), where the file says
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    input_warnings: NDArray[np.str_] | None = None  # (N,), codes of `deepchest predict`, by |
    models: frozenset[str] = frozenset()  # SHA-256 of the models, where `deepchest predict` says
    study: NDArray[np.str_] | None = None  # (N,), where the file says

    def of_split(self, split: str) -> "Scores | None":
        """Return the scores of a split; all where the file names none, None without an image."""
        if self.splits is None or split == "all":
            return self
        rows = np.flatnonzero(self.splits == split)
        if not len(rows):
            return None
        warned = None if self.input_warnings is None else self.input_warnings[rows]
        return Scores(
            self.path,
            self.images[rows],
            self.findings,
            self.probabilities[rows],
            input_warnings=warned,
            study=None if self.study is None else self.study[rows],
        )

    @property
    def from_predict(self) -> bool:
        """Whether `deepchest predict` wrote the file, whose probabilities are calibrated."""
        return self.input_warnings is not None

    def count_warned(self, code: str) -> int:
        """Return how many images have a warning of `deepchest predict`."""
        cells = [] if self.input_warnings is None else self.input_warnings.tolist()
        return sum(code in cell.split("|") for cell in cells)


def read_scores(path: Path, logits: bool = False, labeled: Iterable[str] = ()) -> Scores:
    """Read a file of predictions: a CSV table, or one that MedMNIST's evaluator writes.

    logits: whether the scores are logits, of which the logistic function is taken; labeled: the
    findings that there are labels for. Raises `UsageError` for scores that are missing, not finite
    or no probabilities, naming the cell, for repeated images and findings, and where there is no
    score at all.
    """
    if is_medmnist(path):
        images, cells = read_medmnist(path)
        return Scores(path, images, FINDINGS, _probabilities(cells, path, logits))
    table = read_table(path)
    path = Path(said(path))
    column = image_column(table, path)
    images = image_keys(table[column], path)
    found = find_finding_columns(table, column, path, labeled)
    found.refuse_other_kind(logits, path)
    columns = found.columns
    cells = pd.DataFrame(
        {name: decimal_numbers(table[given], given, path) for name, given in columns.items()},
        index=table.index,
    )
    by_predict = {"sha256", "flagged", "warnings"} <= set(table.columns)
    return Scores(
        path=path,
        images=images,
        findings=tuple(columns),
        probabilities=_probabilities(cells, path, logits),
        splits=_splits(table, path),
        notes=(*found.notes, *blank_rows(table, path)),
        warnings=(*(_doubtful(cells.to_numpy(), path) if logits else ()), *_of_folds(table, path)),
        input_warnings=table["warnings"].to_numpy(dtype=str) if by_predict else None,
        models=frozenset(table[MODEL]) if by_predict and MODEL in table else frozenset(),
        study=read_studies(table, column),
    )


def _of_folds(table: pd.DataFrame, path: Path) -> tuple[str, ...]:
    """Out-of-fold predictions are those of several models, whose scores are not on one scale."""
    if FOLD not in table or len(set(table[FOLD])) < 2:
        return ()
    return (
        f"The column {FOLD!r} of {path} is not used: images of different folds are ranked "
        "together. Name the run with folds by --model to rank them within each.",
    )


def _doubtful(logits: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """Probabilities that are taken for logits would all come out between 0.5 and 0.73."""
    if logits.min() < 0 or logits.max() > 1:
        return ()
    return (f"--logits: all scores of {path} lie from 0 to 1, as probabilities do.",)


def _splits(table: pd.DataFrame, path: Path) -> NDArray[np.str_] | None:
    column = choose_column(table, ROLES["split"])
    if column is None:
        return None
    splits = read_splits(table[column])
    wrong = np.flatnonzero(~splits.isin(SPLITS))
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(table, wrong[0])}, column {column!r}: found "
            f"{table[column].iloc[wrong[0]]!r}.",
            f"Splits are {', '.join(SPLITS)}.",
        )
    return splits.to_numpy(dtype=str)


def _probabilities(cells: pd.DataFrame, path: Path, logits: bool) -> NDArray[np.float64]:
    """Return scores, a column for each finding, as probabilities (N, T)."""
    scores = cells.to_numpy(dtype=np.float64)
    if (broken := ~np.isfinite(scores)).any():
        raise UsageError(
            _refusal(cells, broken, path, ""),
            "Scores have to be finite: look for what the model could not compute.",
        )
    if logits:
        probabilities = np.asarray(np.exp(-np.logaddexp(0.0, -scores)))
        _refuse_saturation(cells, probabilities, path)
        return probabilities
    if (outside := (scores < -ROUNDING) | (scores > 1 + ROUNDING)).any():
        raise UsageError(_refusal(cells, outside, path, ", outside 0 to 1"), _scale(scores))
    return scores.clip(0, 1)


def _refusal(cells: pd.DataFrame, wrong: NDArray[np.bool_], path: Path, why: str) -> str:
    """Return a message about the first score that is wrong (N, T), and how many others are."""
    row, column = np.argwhere(wrong)[0].tolist()
    score = cells.to_numpy(dtype=np.float64)[row, column]
    others = int(wrong.sum()) - 1
    counted = f"; {count_of(others, 'other score is', 'other scores are')} so too" if others else ""
    return (
        f"{path}, row {row_number(cells, row)}: the score for {cells.columns[column]} is "
        f"{float(score)}{why}{counted}."
    )


def _scale(scores: NDArray[np.float64]) -> str:
    """Return what scores outside 0 to 1 may be, and what to do with them."""
    if scores.min() >= 0 and np.quantile(scores, PERCENT) > 1 and scores.max() <= 100:
        return (
            "They look like percentages: divide them by 100. If they are logits, say so: --logits."
        )
    return "If these are logits, say so: --logits. Otherwise scale them to probabilities."


def _refuse_saturation(
    logits: pd.DataFrame, probabilities: NDArray[np.float64], path: Path
) -> None:
    """Logits above about 37 all give 1: a ranking by probabilities would tie them."""
    for column, finding in enumerate(logits.columns):
        given = logits[finding].to_numpy()
        if len(np.unique(probabilities[:, column])) < len(np.unique(given)):
            raise UsageError(
                f"{path}: logits for {finding} of up to {given.max():g} are too large to be told "
                "apart as probabilities.",
                "Divide them by a number that keeps them below 30, or give other scores.",
            )

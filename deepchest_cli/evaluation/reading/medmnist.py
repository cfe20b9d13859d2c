"""The files of MedMNIST's evaluator: no header, an index column, then a score a label.

Names such as `chestmnist_test_[AUC]0.780_[ACC]0.947@run.csv` carry the data set, its split and both
metrics: the mean AUROC over the labels, and the mean accuracy of scores above 0.5. Labels are in
NIH's order. Yang et al. 2023, MedMNIST v2, Scientific Data 10:41.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.tabular.columns import decimal_numbers, image_keys
from deepchest_cli.data.tabular.tables import read_table
from deepchest_cli.errors import UsageError
from deepchest_cli.files import write_text

NAME = re.compile(
    r"(?P<data>[a-z0-9]+(?:_\d+)?)_(?P<split>train|val|test)_"
    r"\[AUC\](?P<auroc>\d+\.\d+|nan)_\[ACC\](?P<accuracy>\d+\.\d+|nan)@(?P<run>.+)\.csv"
)
SPLITS = {"train": "train", "validation": "val", "test": "test"}
CHESTMNIST = {"train": 78_468, "validation": 11_219, "test": 22_433}  # images, MedMNIST v3.0.2


def is_medmnist(path: Path) -> bool:
    """Whether a file's name is one of MedMNIST's evaluator."""
    return NAME.fullmatch(path.name) is not None


def claimed(path: Path) -> dict[str, float]:
    """Return the metrics that a file's name carries; nothing for another name."""
    match = NAME.fullmatch(path.name)
    return {} if match is None else {k: float(match[k]) for k in ("auroc", "accuracy")}


def split_of(path: Path) -> str:
    """Return the split that a file's name carries, by our name."""
    match = NAME.fullmatch(path.name)
    assert match is not None
    return next(ours for ours, theirs in SPLITS.items() if theirs == match["split"])


def read_medmnist(path: Path) -> tuple[NDArray[np.str_], pd.DataFrame]:
    """Return the indices (N,) as names and the scores (N, 14), a column for each finding."""
    table = read_table(path, header=False)
    if table.shape[1] != len(FINDINGS) + 1:
        raise UsageError(
            f"{path} has {table.shape[1]} columns; MedMNIST's files have an index and "
            f"{len(FINDINGS)} scores.",
            "Give a file of chestmnist, or rename it and add a header.",
        )
    scores = {
        name: decimal_numbers(table[str(i + 1)], name, path) for i, name in enumerate(FINDINGS)
    }
    return image_keys(table["0"], path), pd.DataFrame(scores, index=table.index)


def read_medmnist_labels(path: Path, split: str) -> NDArray[np.uint8]:
    """Return the labels (N, 14) of a split of chestmnist.npz; its images are not read."""
    key = f"{SPLITS[split]}_labels"
    try:
        with np.load(path) as arrays:
            labels = np.asarray(arrays[key])
    except Exception as error:  # numpy, zipfile and zlib each have their own
        raise UsageError(
            f"{path} has no readable array {key!r}.", "Give MedMNIST's chestmnist.npz."
        ) from error
    if labels.ndim != 2 or labels.shape[1] != len(FINDINGS) or not np.isin(labels, (0, 1)).all():
        raise UsageError(
            f"{path}: {key} should hold 0 or 1 for {len(FINDINGS)} labels. "
            f"Found shape {labels.shape}.",
            "Give MedMNIST's chestmnist.npz; the other sets have other labels.",
        )
    return labels.astype(np.uint8)


def medmnist_name(data: str, split: str, auroc: float, accuracy: float, run: str) -> str:
    """Return the file's name as the evaluator writes it, metrics with three digits."""
    return f"{data}_{SPLITS[split]}_[AUC]{auroc:.3f}_[ACC]{accuracy:.3f}@{run}.csv"


def write_medmnist(path: Path, findings: Sequence[str], probabilities: NDArray[np.float64]) -> None:
    """Write probabilities (N, T) in the evaluator's layout; raises `UsageError` without all 14."""
    missing = [name for name in FINDINGS if name not in findings]
    if missing:
        raise UsageError(
            f"MedMNIST's layout has all {len(FINDINGS)} findings; not predicted: "
            f"{', '.join(missing)}.",
            "Leave --medmnist out.",
        )
    columns = [list(findings).index(name) for name in FINDINGS]
    rows = probabilities[:, columns].tolist()
    lines = [",".join([str(i), *map(repr, row)]) for i, row in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(lines) + "\n")

"""What is logged of a run: its configuration, its tables and its files, as its folder has them.

A tracker that a run did not have from its beginning gets the same: nothing is kept elsewhere.
"""

import csv
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepchest_cli.config import RUN_CONFIG
from deepchest_cli.model.checkpoint_format import BEST
from deepchest_cli.training.run_files import (
    ALL,
    CHARTS,
    EACH,
    ENVIRONMENT,
    LEARNING_RATES,
    METRICS,
    SOURCE,
    WEIGHTS,
)

EPOCH, WEIGHT = "epoch", "weight"
NOT_LOGGED = (EPOCH, SOURCE)  # of the columns of metrics.csv
SPLITS = ("training", "validation")
FILES = (
    BEST, RUN_CONFIG, ENVIRONMENT, METRICS, WEIGHTS, LEARNING_RATES,
    *(f"{chart}.png" for chart in CHARTS),
)  # fmt: skip


def configuration(folder: Path) -> dict[str, Any]:
    """Return the settings of a run or a comparison, by name."""
    return tomllib.loads((folder / RUN_CONFIG).read_text(encoding="utf-8"))


def epochs(folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield each epoch of a run with its metrics by name; undefined ones are left out.

    A mean over findings is `validation/auroc`, a finding's own value `validation_auroc/Mass`, and
    that of a data set, of several, has the data set's name before it. A task's weight is
    `weight/Mass`. All other names are those of the columns of metrics.csv.
    """
    found: dict[int, dict[str, float]] = {}
    for row in _rows(folder / METRICS):
        of_source = "" if row[SOURCE] == ALL else f"{row[SOURCE]}{EACH}"
        values = found.setdefault(int(row[EPOCH]), {})
        for column, text in row.items():
            is_metric = column.startswith(SPLITS)  # a data set has no others of its own
            if column not in NOT_LOGGED and (is_metric or not of_source) and _is_finite(text):
                values[f"{of_source}{_name(column)}"] = float(text)
    for row in _rows(folder / WEIGHTS):
        values = found.setdefault(int(row.pop(EPOCH)), {})
        values |= {f"{WEIGHT}{EACH}{t}": float(v) for t, v in row.items() if _is_finite(v)}
    yield from sorted(found.items())


def files(folder: Path) -> list[Path]:
    """Return the files of a run that are logged when it has ended, those that there are."""
    return [folder / name for name in FILES if (folder / name).is_file()]


def _name(column: str) -> str:
    split, _, metric = column.partition("_")
    return f"{split}{EACH}{metric}" if split in SPLITS and EACH not in metric else column


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _is_finite(text: str) -> bool:
    return text != "" and math.isfinite(float(text))

"""DeepChest's initial weights, by name or from a file.

The authors' values (Mohamed et al. 2025, arXiv 2505.23595) are 1.5 - a_i / 2 of single-task
accuracies a_i: 1.5, the cap, for an accuracy of 0, and 1 for an accuracy of 1.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_text
from deepchest_cli.weighting.base import Context, check_option
from deepchest_cli.weighting.fixed import check_weights, read_weights

COLUMN = "validation_accuracy/"
SINGLE_TASK = "single-task:"
PRESETS = ("authors-cnn", "authors-resnet")
# finding: the authors' weights for a small convolutional network, for a residual network
AUTHORS = {
    "Atelectasis": (1.05060, 1.01020),
    "Cardiomegaly": (1.01035, 1.00535),
    "Consolidation": (1.02080, 1.01040),
    "Edema": (1.00900, 1.00900),
    "Effusion": (1.05525, 1.01300),
    "Emphysema": (1.01100, 1.00600),
    "Fibrosis": (1.00710, 1.00715),
    "Hernia": (1.00055, 1.00055),
    "Infiltration": (1.08780, 1.08655),
    "Mass": (1.02655, 1.02500),
    "Nodule": (1.02720, 1.02770),
    "Pleural_Thickening": (1.01455, 1.01420),
    "Pneumonia": (1.00615, 1.00590),
    "Pneumothorax": (1.02285, 1.02190),
}


def initial_weights(initial: str | float, tasks: Sequence[str], context: Context) -> Tensor:
    """Return the weights (T,) before the first update, in double precision.

    initial: a positive number for all tasks; `ones`; `prevalence`, 1 + p_i / 2 with p_i the
        training labels' prevalence, which is what the authors' formula gives for a model that
        never predicts a finding; `authors-cnn` or `authors-resnet`, their values; a `.toml` file
        with a number for each task; or `single-task:PATH`, 1.5 - a_i / 2 with the validation
        accuracies a_i of a metrics.csv.

    Raises `UsageError` for anything else, and for tasks without a value.
    """
    text = str(initial)
    if text == "ones":
        return torch.ones(len(tasks), dtype=torch.float64)
    if text == "prevalence":
        return _from_prevalence(context)
    if text in PRESETS:
        _refuse_missing(tasks, AUTHORS, "the authors' table")
        column = PRESETS.index(text)
        return torch.tensor([AUTHORS[task][column] for task in tasks], dtype=torch.float64)
    if text.startswith(SINGLE_TASK):
        return _from_single_tasks(Path(text.removeprefix(SINGLE_TASK)).expanduser(), tasks)
    if text.endswith(".toml"):
        return read_weights(Path(text).expanduser(), tasks)
    try:
        number = float(text)
    except ValueError:
        names = ("ones", "prevalence", *PRESETS, f"{SINGLE_TASK}PATH", "PATH.toml", "a number")
        raise unknown_name("initial weights", text, names) from None
    check_option("deepchest", "initial", number, 0 < number < math.inf, "above 0")
    return torch.ones(len(tasks), dtype=torch.float64) * number


def _from_prevalence(context: Context) -> Tensor:
    if context.prevalence is None:
        raise UsageError(
            "Initial weights 'prevalence' need the training labels' prevalence.",
            "Give the weighter Context(prevalence=...).",
        )
    # without a known label a finding counts as rare
    return 1 + context.prevalence.detach().cpu().double().nan_to_num(0) / 2


def _from_single_tasks(path: Path, tasks: Sequence[str]) -> Tensor:
    accuracies = _accuracies(path)
    _refuse_missing(tasks, accuracies, str(path))
    return check_weights({task: 1.5 - accuracies[task] / 2 for task in tasks}, tasks, str(path))


def _accuracies(path: Path) -> dict[str, float]:
    """Return the validation accuracies by task, without those that are undefined."""
    try:
        found = {
            name.removeprefix(COLUMN): float(text)
            for name, text in _best_row(path).items()
            if name.startswith(COLUMN) and text
        }
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path} is no table of epochs: {error}.") from error
    for task, value in found.items():
        if value < 0 or value > 1:
            raise UsageError(f"{path}: an accuracy should be from 0 to 1. Found {value} of {task}.")
    return {task: value for task, value in found.items() if not math.isnan(value)}


def _best_row(path: Path) -> dict[str, str]:
    """Return the last row marked as the best so far; the last one where none is marked.

    Rows of single data sets are passed over.
    """
    rows = list(csv.DictReader(io.StringIO(read_text(path)), restkey=""))
    rows = [row for row in rows if row.get("source", "all") == "all"]
    if not rows:
        raise ValueError("it has no row")
    return ([row for row in rows if float(row.get("best") or 0)] or rows)[-1]


def _refuse_missing(tasks: Sequence[str], given: Mapping[str, object], where: str) -> None:
    missing = [task for task in tasks if task not in given]
    if missing:
        raise UsageError(
            f"No initial weight in {where} for: {', '.join(missing)}.",
            f"It has: {', '.join(given) or 'none'}.",
        )

"""The weights that DeepChest begins with, by name or from a file.

The authors' figures (Mohamed et al. 2025, arXiv 2505.23595) are 1.5 - a_i / 2 of single-task
accuracies a_i, so that a task that fails alone begins at the cap and a perfect one at 1.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_text
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.given_weights import check_weights, read_weights
from deepchest_cli.weighting.rule import refuse_unless_above

COLUMN = "validation_accuracy/"
SINGLE_TASK = "single-task:"
# finding: beside a small convolutional network, beside a residual network
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
        never predicts a finding; `authors-cnn` or `authors-resnet`, their figures; a `.toml` file
        with a number for each task; or `single-task:PATH`, 1.5 - a_i / 2 with the validation
        accuracies a_i of a metrics.csv.

    Raises `UsageError` for anything else, and for tasks without a figure.
    """
    text = str(initial)
    if text in NAMED:
        return NAMED[text](tasks, context)
    if text.startswith(SINGLE_TASK):
        return _single_task(Path(text.removeprefix(SINGLE_TASK)).expanduser(), tasks)
    if text.endswith(".toml"):
        return read_weights(Path(text).expanduser(), tasks)
    try:
        number = float(text)
    except ValueError:
        names = (*NAMED, f"{SINGLE_TASK}PATH", "PATH.toml", "a number")
        raise unknown_name("initial weights", text, names) from None
    refuse_unless_above("initial", number, 0)
    return _ones(tasks, context) * number


def _ones(tasks: Sequence[str], context: Context) -> Tensor:
    return torch.ones(len(tasks), dtype=torch.float64)


def _prevalence(tasks: Sequence[str], context: Context) -> Tensor:
    if context.prevalence is None:
        raise UsageError(
            "Initial weights 'prevalence' need the training labels' prevalence.",
            "Give the weighter Context(prevalence=...).",
        )
    known = context.prevalence.detach().cpu().double().nan_to_num(0)  # nothing known: as if rare
    return 1 + known / 2


def _authors(column: int) -> Callable[[Sequence[str], Context], Tensor]:
    def preset(tasks: Sequence[str], context: Context) -> Tensor:
        _refuse_missing(tasks, AUTHORS, "the authors' figures")
        return torch.tensor([AUTHORS[task][column] for task in tasks], dtype=torch.float64)

    return preset


def _single_task(path: Path, tasks: Sequence[str]) -> Tensor:
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
    """Return the last row marked as the best so far; the last one where none is marked."""
    rows = list(csv.DictReader(io.StringIO(read_text(path)), restkey=""))
    if not rows:
        raise ValueError("it has no row")
    return ([row for row in rows if float(row.get("best") or 0)] or rows)[-1]


def _refuse_missing(tasks: Sequence[str], known: Mapping[str, object], where: str) -> None:
    missing = [task for task in tasks if task not in known]
    if missing:
        raise UsageError(
            f"No initial weight in {where} for: {', '.join(missing)}.",
            f"It has: {', '.join(known) or 'none'}.",
        )


NAMED: Mapping[str, Callable[[Sequence[str], Context], Tensor]] = {
    "ones": _ones,
    "prevalence": _prevalence,
    "authors-cnn": _authors(0),
    "authors-resnet": _authors(1),
}

"""Task weights that a user gives: read from a file, and checked wherever they come from."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_toml_file


def read_weights(path: Path, tasks: Sequence[str]) -> Tensor:
    """Return the weights (T,) of a TOML file with a line `task = number` for every task.

    Raises `UsageError` when there is no such file or it does not hold such a table.
    """
    return check_weights(read_toml_file(path, "file of weights"), tasks, str(path))


def check_weights(values: Mapping[str, object], tasks: Sequence[str], where: str) -> Tensor:
    """Return the weights (T,), in double precision, that `values` gives each task.

    Raises `UsageError`, which begins with `where` they stand, unless every task and nothing else
    has a finite number of 0 or above, and one of them is above 0.
    """
    for name in values:
        if name not in tasks:
            unknown = unknown_name("task", name, tasks)
            raise UsageError(f"{where}: {unknown.message}", unknown.hint)
    missing = ", ".join(task for task in tasks if task not in values)
    if missing:
        raise UsageError(f"{where} should have a weight for every task. Missing: {missing}.")
    weights = [_number(values[task], f"{where}: the weight of {task}") for task in tasks]
    if not any(weights):
        raise UsageError(f"{where} should have a weight above 0. Found none.")
    return torch.tensor(weights, dtype=torch.float64)


def _number(value: object, what: str) -> float:
    # a switch is an integer to Python, and an integer may be beyond every float
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not 0 <= number < math.inf:
        raise UsageError(f"{what} should be a number of 0 or above. Found {value!r}.")
    return number

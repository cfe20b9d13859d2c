"""Constant weights of the user's choice (baseline: a tuned scalarization).

With w_i the weight given to task i and L_i its loss, the objective is the sum of w_i L_i. Such
weights, well chosen, match adaptive ones (Xin et al., NeurIPS 2022, "Do Current Multi-Task
Optimization Methods in Deep Learning Even Help?").
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_toml_file
from deepchest_cli.weighting.base import Tasks, WeightedSumWeighter

WHERE = "Option 'weights' of fixed"


class FixedWeighter(WeightedSumWeighter):
    """The sum of the task losses times weights that the user gives.

    One of the two is needed; it has a number of 0 or above for every task:
    weights: as text, "Atelectasis:1,Hernia:3,...".
    file: path of a TOML file with a line `task = number` for each task.
    """

    def __init__(self, tasks: Tasks, weights: str = "", file: str = "") -> None:
        super().__init__(tasks)
        if bool(weights) == bool(file):
            found = "both" if file else "neither"
            raise UsageError(
                f"Weighter 'fixed' should have one of the options 'weights' and 'file'. "
                f"Found {found}.",
                "For example: weights=Atelectasis:1,Hernia:3,... with every task.",
            )
        if file:
            self.task_weights.copy_(read_weights(Path(file).expanduser(), self.tasks))
        else:
            self.task_weights.copy_(check_weights(_split(weights), self.tasks, WHERE))


def _split(text: str) -> dict[str, float]:
    """Return the weights that "task:weight,task:weight" names."""
    values: dict[str, float] = {}
    for entry in text.split(","):
        task, _, weight = (word.strip() for word in entry.rpartition(":"))
        if task in values:
            raise UsageError(f"{WHERE} should name each task once. Found {task!r} twice.")
        try:
            values[task] = float(weight)
        except ValueError as error:
            raise UsageError(f"{WHERE} should be task:number,... Found {entry!r}.") from error
    return values


def read_weights(path: Path, tasks: Tasks) -> Tensor:
    """Return the weights (T,) of a TOML file with a line `task = number` for every task.

    Raises `UsageError` when there is no such file or it does not hold such a table.
    """
    return check_weights(read_toml_file(path, "file of weights"), tasks, str(path))


def check_weights(values: Mapping[str, object], tasks: Tasks, where: str) -> Tensor:
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
    # a boolean is an integer to Python, and an integer may be beyond every float
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not 0 <= number < math.inf:
        raise UsageError(f"{what} should be a number of 0 or above. Found {value!r}.")
    return number

"""Constant weights of the user's choice (baseline: a tuned scalarisation).

With w_i the weight given to task i and L_i its loss, the objective is the sum of w_i L_i. Such
weights, well chosen, match adaptive ones (Xin et al., NeurIPS 2022, "Do Current Multi-Task
Optimization Methods in Deep Learning Even Help?").
"""

from collections.abc import Sequence
from pathlib import Path

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import HeldWeighter
from deepchest_cli.weighting.given_weights import check_weights, read_weights

WHERE = "Option 'weights' of fixed"


class FixedWeighter(HeldWeighter):
    """The sum of the task losses times weights that the user gives.

    One of the two is needed; every task has to be in it, with a number of 0 or above:
    weights: as text, "Atelectasis:1,Hernia:3,...".
    file: path of a TOML file with a line `task = number` for each task.
    """

    def __init__(self, tasks: Sequence[str], weights: str = "", file: str = "") -> None:
        super().__init__(tasks)
        if bool(weights) == bool(file):
            found = "both" if file else "neither"
            raise UsageError(
                f"Weighter 'fixed' should have one of the options 'weights' and 'file'. "
                f"Found {found}.",
                "For example: weights=Atelectasis:1,Hernia:3,... with every task.",
            )
        given = (
            read_weights(Path(file).expanduser(), self.tasks)
            if file
            else check_weights(_split(weights), self.tasks, WHERE)
        )
        self.task_weights.copy_(given)


def _split(text: str) -> dict[str, float]:
    """Return the weights that "task:weight,task:weight" names."""
    values: dict[str, float] = {}
    for entry in text.split(","):
        task, _, weight = (part.strip() for part in entry.rpartition(":"))
        if task in values:
            raise UsageError(f"{WHERE} should name each task once. Found {task!r} twice.")
        try:
            values[task] = float(weight)
        except ValueError as error:
            raise UsageError(f"{WHERE} should be task:number,... Found {entry!r}.") from error
    return values

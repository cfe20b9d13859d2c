"""The trackers by the names that --track takes, which are those of their extras."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from deepchest_cli.training.tracking.base import Destinations, Tracker
from deepchest_cli.training.tracking.mlflow import MLflow
from deepchest_cli.training.tracking.records import Record
from deepchest_cli.training.tracking.tensorboard import TensorBoard
from deepchest_cli.training.tracking.wandb import WandB

TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}


def hints(
    names: Iterable[str], folder: Path, destinations: Destinations, records: Mapping[str, Record]
) -> list[str]:
    """Return where the records of a run or a comparison are, and the commands that show them."""
    return [
        f"{TRACKERS[name].title}: {TRACKERS[name].hint(folder, destinations, records.get(name))}"
        for name in dict.fromkeys(names)
    ]


def check_trackers(
    names: Iterable[str], destinations: Destinations, records: Mapping[str, Record]
) -> None:
    """Raise `UsageError` where one cannot be used: not installed, or its server not there.

    records: those of a run or a comparison that is resumed.
    """
    for name in dict.fromkeys(names):
        TRACKERS[name].check(destinations, records.get(name))

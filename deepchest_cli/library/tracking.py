"""The trackers that a configuration asks for, and where the user's environment puts records."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import CompareConfig, TrainConfig
from deepchest_cli.reporter import Reporter

if TYPE_CHECKING:
    from deepchest_cli.training.progress import Observer
    from deepchest_cli.training.tracking.base import Destinations


def find_destinations() -> "Destinations":
    """Return where records go: the variables of MLflow and W&B decide, else they stay here."""
    from deepchest_cli.training.tracking.base import Destinations

    given = os.environ
    return Destinations(
        mlflow=given.get("MLFLOW_TRACKING_URI") or None,
        mlflow_experiment=given.get("MLFLOW_EXPERIMENT_NAME") or Destinations.mlflow_experiment,
        mlflow_folder=Path("mlruns").absolute(),
        wandb_mode=given.get("WANDB_MODE") or Destinations.wandb_mode,
        wandb_folder=None if given.get("WANDB_DIR") else Path.cwd(),
        wandb_project=given.get("WANDB_PROJECT") or Destinations.wandb_project,
    )


def check_tracking(config: TrainConfig | CompareConfig) -> "Destinations":
    """Return where records go; `UsageError`: a tracker is not installed, its server not there."""
    destinations = find_destinations()
    if config.track:
        from deepchest_cli.config.flags import AUTO
        from deepchest_cli.training.tracking.records import read_records
        from deepchest_cli.training.tracking.registry import check_trackers

        folder = None if config.resume == AUTO else config.resume
        records = {} if folder is None else read_records(folder)
        check_trackers(config.track, destinations, records)
    return destinations


@contextmanager
def tracking(config: TrainConfig, folder: Path, reporter: Reporter) -> Iterator[list["Observer"]]:
    """Yield the observer that logs a run with its trackers; none where it has none.

    The runs of folds are a group. A run that has ended is logged where the block does nothing.
    """
    if not config.track:
        yield []
        return
    from deepchest_cli.training.tracking.base import Group
    from deepchest_cli.training.tracking.observer import Tracking, closing
    from deepchest_cli.training.tracking.records import read_records
    from deepchest_cli.training.tracking.registry import hints

    whole, name, group = folder, folder.absolute().name, None
    if config.fold is not None:
        whole = folder.parent
        group = Group(whole.absolute().name)
        name = f"{group.name}, fold {config.fold}"
    log = Tracking(folder, config.track, find_destinations(), name, group, reporter.warning)
    log.open()
    if config.fold in (None, 1):
        for hint in hints(config.track, whole, log.destinations, read_records(folder)):
            reporter.note(hint)
    with closing(log):
        yield [log]

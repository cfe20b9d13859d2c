"""What training does, for the command and for the function: of a new run, or one to go on with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepchest_cli.config import TrainConfig, find_data, parse_assignment
from deepchest_cli.errors import UsageError
from deepchest_cli.library.operations.fit import Observe, build, fit
from deepchest_cli.library.operations.folds import FoldsSummary, train_folds
from deepchest_cli.library.tracking import check_tracking, tracking
from deepchest_cli.reporter import Reporter

if TYPE_CHECKING:
    from deepchest_cli.training.components import TrainingComponents
    from deepchest_cli.training.distributed import DistributedContext
    from deepchest_cli.training.progress import Observer
    from deepchest_cli.training.summary import TrainingSummary

# flags that may change when a run is resumed: they change where and how it is computed, and its
# results only by rounding and by the micro-batches of batch norm
FREE_ON_RESUME = frozenset(
    {"resume", "recipe", "out", "device", "cache", "grad_accum_steps", "grad_checkpoint", "compile"}
    | {"track"}
)


@contextmanager
def logs(
    components: "TrainingComponents", folder: Path, reporter: Reporter
) -> Iterator[list["Observer"]]:
    """Yield the observers that the configuration asks for: that of the trackers."""
    if not components.distributed.is_main:
        yield []
        return
    with tracking(components.config, folder, reporter) as observers:
        yield observers


def refuse_unknown_weighter(config: TrainConfig) -> None:
    """Raise `UsageError` for a misspelled weighter or option of a new run, without torch."""
    from deepchest_cli.weighting.registry import read_weighter

    if config.resume is None:
        options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
        read_weighter(config.weighter, options)


def train_run(
    config: TrainConfig, distributed: "DistributedContext", reporter: Reporter, observe: Observe
) -> "TrainingSummary | FoldsSummary":
    """Train a new run, or go on with one, and draw its plots; return how it has ended.

    With `folds`, that is a run for each of them.

    observe: returns a context with the observers of what is trained, in the run's folder. Raises
    `UsageError` before anything is trained, and what `Trainer.fit` raises.
    """
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.training.resume import folder_to_resume, open_data_again
    from deepchest_cli.training.run_directory import create_run

    # by the main process alone: another could find the folder already begun
    if distributed.is_main:
        config = _resolved(config, reporter)
        check_tracking(config)  # refuses before there is a run
    config = distributed.broadcast(config)
    if config.folds is not None:
        return train_folds(config, distributed, reporter, observe)
    folder = folder_to_resume(config)
    dataset = open_data_again(config, folder) if folder else None
    if dataset is not None:  # in the order that the run began with
        config = replace(config, data=tuple(str(member.folder) for member in dataset.members))
    resumed = distributed.broadcast(folder is not None and (folder / LAST).is_file())
    components = build(config, distributed, resumed, dataset)
    if folder is None and distributed.is_main:
        folder = create_run(components.config)
    folder = distributed.broadcast(folder)
    assert folder is not None
    return fit(components, folder, dataset is not None, reporter, observe)


def _resolved(config: TrainConfig, reporter: Reporter) -> TrainConfig:
    """Return the configuration with the folder to resume, or with the data of a new run.

    Flags that contradict a resumed run are errors.
    """
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.model.fold_runs import FOLD
    from deepchest_cli.training.resume import (
        folder_to_resume,
        refuse_changes,
        resolve_auto,
        saved_config,
    )
    from deepchest_cli.training.run_directory import resume_command

    if folder_to_resume(config) is not None and config.recipe is not None:
        raise UsageError(
            "--recipe is for new runs: a resumed one has its values in its config.toml.",
            "Leave --recipe or --resume out.",
        )
    config = resolve_auto(config)
    folder = folder_to_resume(config)
    if folder is None:
        data, note = find_data(config.data)
        if note:
            reporter.note(note)
        return replace(config, data=data)
    saved = saved_config(folder, TrainConfig)
    if saved.fold is not None:
        raise UsageError(
            f"{folder} is fold {saved.fold} of a run whose folds go on together.",
            f"Resume with: {resume_command(folder.absolute(), saved)}",
        )
    if folder.is_symlink():  # runs/latest may name another run by the time this one saves
        folder = folder.parent / folder.readlink()
    # data elsewhere are compared with those of the checkpoint
    has_state = any((place / LAST).is_file() for place in (folder, folder / f"{FOLD}1"))
    free = FREE_ON_RESUME | ({"data"} if has_state else set())
    return replace(refuse_changes(config, folder, free), resume=folder)

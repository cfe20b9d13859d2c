"""The folder of a run: made without collisions, its files written whole or not at all."""

import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import torch

from deepchest_cli import __version__
from deepchest_cli.config import (
    AUTO,
    RUN_CONFIG,
    CompareConfig,
    TrainConfig,
    to_toml,
)
from deepchest_cli.config.flags import (
    AUTO_WEIGHTS,
    NONE,
    PRETRAINED,
    resume_line,
)
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.files import atomic_write, sweep, to_csv, write_json, write_text
from deepchest_cli.model.backbones.registry import folder_name
from deepchest_cli.model.checkpoint import save_checkpoint
from deepchest_cli.model.checkpoint_format import BEST, LAST
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.optimization import learning_rate
from deepchest_cli.training.progress import EpochReport
from deepchest_cli.training.run_files import (
    ALL,
    ENVIRONMENT,
    LATEST,
    LEARNING_RATES,
    METRICS,
    RUNS,
    SOURCE,
    WEIGHTS,
)
from deepchest_cli.training.train_state import EpochMetrics, TrainState, snapshot
from deepchest_cli.training.validation import VALIDATION_METRICS
from deepchest_cli.weighting.own import short_name

# only the training process writes these
OWN = (LAST, METRICS, WEIGHTS, LEARNING_RATES, ENVIRONMENT, RUN_CONFIG)
PACKAGES = (
    "torch", "torchvision", "numpy", "pandas", "pillow", "scikit-learn", "h5py", "matplotlib"
)  # fmt: skip
Config = TypeVar("Config", TrainConfig, CompareConfig)


def create_run(config: TrainConfig) -> Path:
    """Make the folder of a new run with its configuration and environment.

    Raises `UsageError` as `make_named` does; a generated name never collides.
    """
    if config.out is not None:
        begun = (config.out / RUN_CONFIG).is_file()
        resume = f"Resume with: {resume_command(config.out, config)}. Or choose"
        hint = f"{resume if begun else 'Choose'} another folder with --out."
        folder = make_named(config.out, config.resume == AUTO, hint)
    else:
        weighter = short_name(config.weighter).replace(":", "_")  # which Windows forbids
        several = f"-{len(config.data)}-data-sets" if len(config.data) > 1 else ""
        several += "" if config.folds is None else f"-{config.folds}-folds"
        name = f"{now()}-{folder_name(config.backbone)}-{weighter}{several}"
        folder = make_unique(RUNS, name)
    fill_run(folder, config)
    return folder


def resume_command(folder: Path, config: TrainConfig | CompareConfig) -> str:
    """Return the command that goes on; it names code of one's own, which runs only then."""
    if not isinstance(config, TrainConfig):
        return resume_line("compare-weighters", folder, vars(config))
    whole = folder if config.fold is None else folder.parent  # all folds go on together
    return resume_line("train", whole, vars(config))


def way_of(config: TrainConfig | CompareConfig) -> str:
    """Return the flag by which a comparison was to go on: as a job, a report, on a cluster."""
    if isinstance(config, TrainConfig):
        return ""
    if config.job is not None:
        return f" --job {config.job}"
    if config.dask is not None:
        return f" --dask {quote(config.dask)}"
    return " --plan" if config.plan else " --report" if config.report else ""


def fill_run(folder: Path, config: Config) -> None:
    """Write environment and configuration into a folder; the latter, written last, marks a run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENVIRONMENT, describe_environment())
    write_text(folder / RUN_CONFIG, to_toml(repeatable(config)))


def repeatable(config: Config) -> Config:
    """Return a configuration for another run: without this one's folder, and without links."""
    weights = config.weights
    if weights not in (AUTO_WEIGHTS, NONE, *PRETRAINED):
        weights = str(Path(weights).resolve())  # runs/latest will soon name another run
    return replace(config, out=None, resume=None, recipe=None, weights=weights)


def make_named(folder: Path, may_exist: bool, hint: str) -> Path:
    """Make a folder that the user has named and return it.

    may_exist: accept one that is empty, or that a process left which was killed at its start.
    Raises `UsageError` for any other that exists.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not may_exist or not folder.is_dir():
            raise UsageError(f"{folder} exists already.", hint) from error
        sweep(folder, (RUN_CONFIG, ENVIRONMENT))
        others = sorted({path.name for path in folder.iterdir()} - {ENVIRONMENT})
        if others:
            raise UsageError(f"{folder} holds other files ({few(others)}).", hint) from error
    return folder


def now() -> str:
    """Return the time in the form that folders are named by."""
    return datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")


def make_unique(parent: Path, name: str) -> Path:
    """Make a folder that is new even when two runs start in the same second."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def point_latest(folder: Path) -> str:
    """Let `latest` beside a run name it; return a warning where it cannot, else nothing.

    A run elsewhere than in `runs`, where there is no such link either, needs none.
    """
    link = folder.parent / LATEST
    if not link.is_symlink() and folder.parent.resolve() != RUNS.resolve():
        return ""
    if link.exists() and link.samefile(folder):
        return ""
    if link.exists() and not link.is_symlink():
        reason = f"is a {'folder' if link.is_dir() else 'file'} and not a link"
    else:
        try:
            sweep(link.parent, [LATEST])
            with atomic_write(link) as temporary:
                temporary.symlink_to(folder.name, target_is_directory=True)
            return ""
        except OSError as error:  # no privilege, or a file system without links
            reason = f"cannot be made ({error.strerror or error})"
    return f"{link} {reason}: other commands find this run with --model {quote(str(folder))}"


def describe_environment() -> dict[str, Any]:
    """Return versions and devices, for the run directory and for `deepchest doctor`."""
    return {
        "deepchest": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class RunWriter:
    """Writes tables and checkpoints of a run; only the main process writes files."""

    def __init__(self, components: TrainingComponents, folder: Path) -> None:
        self.components = components
        self.folder = folder

    def write_epoch(
        self, report: EpochReport, state: TrainState, epoch_metrics: EpochMetrics
    ) -> str:
        """Add an epoch to the tables and write all: the best first, the state last.

        Returns a warning where `runs/latest` cannot name the run; else nothing.
        """
        components = self.components
        config, peak = components.config, report.peak_learning_rate
        if peak is not None:
            config = replace(config, learning_rate=peak)
        rate = learning_rate(config, state.step - 1, components.total_steps)
        state.add_rows(report, components.dataset.findings, components.tasks.names, rate)
        if not components.distributed.is_main:
            return ""
        warning = ""
        if report.best:
            validation = {name: report.macro("validation", name) for name in VALIDATION_METRICS}
            origin = {**self._origin(state), "validation": validation}
            save_checkpoint(self.folder / BEST, components.evaluated_model, origin)
            # by the state, not by the file: a run killed between the two comes here once more
            if sum(row["best"] for row in state.metrics if row[SOURCE] == ALL) == 1:
                warning = point_latest(self.folder)
        self._write_table(METRICS, state.metrics)
        for name, rows in ((WEIGHTS, state.weights), (LEARNING_RATES, state.learning_rates)):
            if rows:
                self._write_table(name, rows)
        self.save_last(state, epoch_metrics)
        return warning

    def save_last(self, state: TrainState, epoch_metrics: EpochMetrics) -> None:
        """Write the checkpoint from which the run can be resumed."""
        if self.components.distributed.is_main:
            training = snapshot(state, epoch_metrics, self.components)
            origin = self._origin(state)
            save_checkpoint(self.folder / LAST, self.components.classifier, origin, training)

    @contextmanager
    def saving_last(self, state: TrainState, epoch_metrics: EpochMetrics) -> Iterator[None]:
        """Write the same in a thread beside the block, which must change nothing of it."""
        with ThreadPoolExecutor(1, thread_name_prefix="checkpoint") as thread:
            writing = thread.submit(self.save_last, state, epoch_metrics)
            try:
                yield
            finally:
                writing.result()  # or raise, whatever else has happened: nothing is saved

    def _origin(self, state: TrainState) -> dict[str, Any]:
        """Return where a model comes from, in values that a checkpoint can hold."""
        components = self.components
        config = {
            key: str(value) if isinstance(value, Path) else value
            # without what an interruption changes
            for key, value in asdict(repeatable(components.config)).items()
        }
        return {
            "deepchest": __version__,
            "weighter": short_name(components.config.weighter),
            "config": {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()},
            "data_sets": [
                {
                    "name": member.name,
                    "data": str(member.folder),
                    "sha256": member.sha256,
                    "source": member.manifest["source"],
                    "settings": member.manifest["settings"],
                }
                for member in components.dataset.members
            ],
            "epoch": state.epoch,
            "step": state.step,
            "steps_per_epoch": components.steps_per_epoch,
        }

    def _write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        write_text(self.folder / name, to_csv(list(rows[0]), rows))

"""The folder of a run: created without collisions, written so that it is always whole."""

import platform
import sys
from dataclasses import replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import torch

from deepchest_cli import __version__
from deepchest_cli.config import AUTO, RUN_CONFIG, CompareConfig, TrainConfig, to_toml
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.files import atomic_write, sweep, write_json, write_text
from deepchest_cli.model.checkpoint import LAST
from deepchest_cli.model.weights import IMAGENET, NONE

RUNS = Path("runs")
LATEST = "latest"
ENVIRONMENT, METRICS, WEIGHTS = "environment.json", "metrics.csv", "weights.csv"
OWN = (LAST, METRICS, WEIGHTS, ENVIRONMENT, RUN_CONFIG)  # nobody writes these but who trains
Config = TypeVar("Config", TrainConfig, CompareConfig)
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "h5py",
    "matplotlib",
)


def create_run(config: TrainConfig) -> Path:
    """Make the folder of a new run with its configuration and environment.

    Raises `UsageError` as `make_named` does; a name of our own never collides.
    """
    if config.out is not None:
        begun = (config.out / RUN_CONFIG).is_file()
        way_on = f"Go on with: deepchest train --resume {quote(str(config.out))}. Or choose"
        hint = f"{way_on if begun else 'Choose'} another folder with --out."
        folder = make_named(config.out, config.resume == AUTO, hint)
    else:
        folder = make_unique(RUNS, f"{now()}-{config.backbone}-{config.weighter}")
    fill_run(folder, config)
    return folder


def fill_run(folder: Path, config: Config) -> None:
    """Write a configuration and the environment into a folder: the former last, it is the mark."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENVIRONMENT, describe_environment())
    write_text(folder / RUN_CONFIG, to_toml(repeatable(config)))


def repeatable(config: Config) -> Config:
    """Return what another run can be begun with: without this one's folder, and without links."""
    weights = config.weights
    if weights not in (NONE, IMAGENET):
        weights = str(Path(weights).resolve())  # runs/latest will soon name another run
    return replace(config, out=None, resume=None, recipe=None, weights=weights)


def make_named(folder: Path, may_exist: bool, hint: str) -> Path:
    """Make a folder that the user has named and return it.

    may_exist: take one that is empty, or as a process left it that was killed as it began. Raises
    `UsageError` for any other that exists.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        if not may_exist or not folder.is_dir():
            raise UsageError(f"{folder} exists already.", hint) from error
        sweep(folder, (RUN_CONFIG, ENVIRONMENT))
        strangers = sorted({path.name for path in folder.iterdir()} - {ENVIRONMENT})
        if strangers:
            raise UsageError(f"{folder} holds other files ({few(strangers)}).", hint) from error
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
    """Let `latest` beside a run name it, in one step; return why it cannot, empty where it does.

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
    """Return versions and devices, for the run directory and for the doctor."""
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

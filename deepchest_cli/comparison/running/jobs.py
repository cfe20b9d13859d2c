"""Which runs a comparison consists of, and in which folders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

from deepchest_cli.comparison.running.arms import BASELINE, Arm
from deepchest_cli.config import CompareConfig, RunConfig, TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.files import sha256_of, to_json
from deepchest_cli.weighting import WEIGHTERS

RUNS, SINGLE = "runs", "single-task"
GRID = (1 / 3, 1.0, 3.0)  # times the given learning rate


@dataclass(frozen=True)
class Job:
    """One run of a comparison: an arm, a seed, and perhaps a fold or a finding of its own."""

    arm: Arm
    config: TrainConfig
    folder: Path
    fold: tuple[int, int] | None = None  # counted from 0, of how many
    finding: str | None = None

    @property
    def settings(self) -> str:
        """A SHA-256 of all that the results depend on: settings, and files of options."""
        free = ("data", "device", "cache", "out", "resume", "recipe")
        plain = {key: str(value) for key, value in vars(self.config).items() if key not in free}
        paths = (Path(text.partition("=")[2]).expanduser() for text in self.config.weighter_option)
        files = [sha256_of(path) for path in paths if path.is_file()]
        return sha256(to_json([plain, files, self.finding]).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What the run is called where people read it."""
        parts = [self.arm.label if self.finding is None else f"{self.finding} alone"]
        parts.append(f"seed {self.config.seed}")
        if self.fold is not None:
            parts.append(f"fold {self.fold[0] + 1} of {self.fold[1]}")
        return ", ".join(parts)

    def view(self, dataset: RadiographDataset) -> RadiographDataset:
        """Return the parts and the findings of a data set that this run sees."""
        if self.fold is not None:
            dataset = dataset.folded(*self.fold)
        return dataset if self.finding is None else dataset.only(self.finding)


def compared_jobs(
    config: CompareConfig, arms: Sequence[Arm], folder: Path, rates: Mapping[str, float]
) -> list[Job]:
    """Return the runs whose results are compared, seed by seed; `rates` by the arm's label."""
    return [
        _job(config, arm, seed, folder, fold, rates.get(arm.label))
        for seed in config.seed_numbers
        for fold in _folds(config)
        for arm in arms
    ]


def tuning_jobs(config: CompareConfig, arms: Sequence[Arm], folder: Path) -> list[Job]:
    """Return the runs that choose each arm's learning rate: the first seed; never by folds."""
    return [
        _job(config, arm, config.first_seed, folder, None, factor * config.learning_rate)
        for arm in arms
        for factor in GRID
    ]


def single_task_jobs(
    config: CompareConfig, findings: Sequence[str], folder: Path, rates: Mapping[str, float]
) -> list[Job]:
    """Return the runs of a model for each finding alone, at the rate of equal weighting."""
    arm = Arm(BASELINE, BASELINE)
    jobs = []
    for seed in config.seed_numbers:
        for fold in _folds(config):
            for number, finding in enumerate(findings):
                place = folder / SINGLE / f"finding-{number + 1:02d}" / _name(seed, fold)
                train = train_config(config, arm, seed)
                train = replace(train, learning_rate=rates.get(BASELINE, train.learning_rate))
                jobs.append(Job(arm, train, place, fold, finding))
    return jobs


def train_config(config: CompareConfig, arm: Arm, seed: int) -> TrainConfig:
    """Return the configuration of `train` for an arm and a seed."""
    shared = {field.name: getattr(config, field.name) for field in fields(RunConfig)}
    if not needs_gradients(arm):
        shared["gradient_level"] = "features"
    return TrainConfig(**shared, weighter=arm.weighter, weighter_option=arm.options, seed=seed)


def needs_gradients(arm: Arm) -> bool:
    """Whether an arm's weighter needs gradients of single tasks."""
    info = WEIGHTERS.get(arm.weighter.removeprefix("deepchest+"))
    return info is not None and info.kind == "gradient"


def _folds(config: CompareConfig) -> list[tuple[int, int] | None]:
    if config.folds is None:
        return [None]
    return [(fold, config.folds) for fold in range(config.folds)]


def _job(
    config: CompareConfig,
    arm: Arm,
    seed: int,
    folder: Path,
    fold: tuple[int, int] | None,
    rate: float | None,
) -> Job:
    train = train_config(config, arm, seed)
    name = _name(seed, fold)
    if rate is not None:
        train = TrainConfig(**{**vars(train), "learning_rate": rate})
        name += f"-rate-{rate:.3g}"
    return Job(arm, train, folder / RUNS / arm.folder / name, fold)


def _name(seed: int, fold: tuple[int, int] | None) -> str:
    return f"seed-{seed}" + ("" if fold is None else f"-fold-{fold[0] + 1}")

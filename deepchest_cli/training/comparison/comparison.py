"""A comparison from its configuration to all that its statistics are made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deepchest_cli.config import CompareConfig, parse_assignment
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UsageError
from deepchest_cli.files import held
from deepchest_cli.training.checks import refuse_unfit_weighter
from deepchest_cli.training.comparison.arms import Arm, parse_arms
from deepchest_cli.training.comparison.fairness import Start, common_starts
from deepchest_cli.training.comparison.folder import open_comparison
from deepchest_cli.training.comparison.jobs import (
    Job,
    compared_jobs,
    single_task_jobs,
    train_config,
    tuning_jobs,
)
from deepchest_cli.training.comparison.run import RunRecord, release
from deepchest_cli.training.comparison.runner import ComparisonObserver, run_all
from deepchest_cli.training.comparison.scoring import score_all
from deepchest_cli.training.comparison.tuning import best_rates
from deepchest_cli.training.device import resolve_device
from deepchest_cli.training.setup import set_up
from deepchest_cli.weighting import Context, build_weighter

Runs = list[tuple[Job, RunRecord]]


@dataclass(frozen=True)
class Comparison:
    """What has been trained and predicted."""

    folder: Path
    config: CompareConfig
    dataset: RadiographDataset
    arms: tuple[Arm, ...]
    runs: Runs  # of the arms, seed by seed
    single: Runs  # of models of one finding each
    tuning: Runs
    rates: dict[str, float]  # learning rates by the arm's label
    starts: list[Start]

    def runs_of(self, arm: Arm) -> Runs:
        """Return an arm's runs, seed by seed and fold by fold."""
        return [(job, record) for job, record in self.runs if job.arm == arm]


def plan(config: CompareConfig) -> tuple[RadiographDataset, tuple[Arm, ...]]:
    """Return data and arms; raises `UsageError` for whatever would fail only after hours."""
    arms, dataset = parse_arms(config.weighters), open_dataset(config.data)
    for device in devices_of(config):
        resolve_device(device)
    baseline = compared_jobs(config, arms, Path(), {})[0]
    view = baseline.view(dataset)
    if not len(view.rows("test")):
        raise UsageError(
            f"{config.data} has no test part to compare on.",
            "Prepare the data with one, or use --folds.",
        )
    setup = set_up(replace(baseline.config, device=devices_of(config)[0]), dataset=view)
    prevalence = torch.from_numpy(view.labels.mean(axis=0))
    for arm in arms:
        train = train_config(config, arm, 0)
        options = [parse_assignment(text, f"--weighters {arm.label}:") for text in arm.options]
        context = Context(0, prevalence, config.epochs)
        weighter = build_weighter(arm.weighter, dataset.findings, options, context)
        refuse_unfit_weighter(train, weighter, setup.classifier)
    del setup
    release()
    return dataset, arms


def devices_of(config: CompareConfig) -> list[str]:
    """Return the devices that runs are spread over."""
    return config.devices.replace(" ", "").split(",") if config.devices else [config.device]


def compare(
    config: CompareConfig, observer: ComparisonObserver, progress: Callable[[int, int], None]
) -> Comparison:
    """Train what is missing, then let each finished run predict the test part, once.

    Raises `UsageError` before anything is trained, `InterruptedRunError` with all state saved, and
    `DeepChestError` where no run at all has finished.
    """
    dataset, arms = plan(config)
    folder = open_comparison(config)
    devices = devices_of(config)
    with held(folder), _naming(folder):
        tuning, rates = _tune(config, arms, folder, dataset, observer)
        jobs = compared_jobs(config, arms, folder, rates)
        alone = single_task_jobs(config, dataset.findings, folder) if config.single_task else []
        records = run_all([*jobs, *alone], dataset, devices, observer)
        runs = list(zip(jobs, records, strict=False))
        single = list(zip(alone, records[len(jobs) :], strict=True))
        starts = common_starts(jobs, records[: len(jobs)])
        finished = [job for job, record in [*runs, *single] if record.status == "finished"]
        if not any(record.status == "finished" for _, record in runs):
            raise DeepChestError(
                f"No run has finished. The first: {records[0].error}",
                f"The runs are in {folder}; a lower --learning-rate, or --clip-norm 1, may help.",
            )
        score_all(finished, dataset, resolve_device(devices[0]), progress)
    used = {arm.label: rates.get(arm.label, config.learning_rate) for arm in arms}
    return Comparison(folder, config, dataset, arms, runs, single, tuning, used, starts)


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Let an interruption of a run say how the comparison goes on."""
    try:
        yield
    except InterruptedRunError as error:
        hint = f"Go on with: deepchest compare-weighters --resume {folder}"
        raise InterruptedRunError(error.message, hint, error.exit_code) from error


def _tune(
    config: CompareConfig,
    arms: Sequence[Arm],
    folder: Path,
    dataset: RadiographDataset,
    observer: ComparisonObserver,
) -> tuple[Runs, dict[str, float]]:
    if not config.tune_learning_rate:
        return [], {}
    jobs = tuning_jobs(config, arms, folder)
    records = run_all(jobs, dataset, devices_of(config), observer)
    return list(zip(jobs, records, strict=True)), best_rates(jobs, records)

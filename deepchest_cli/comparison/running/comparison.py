"""A comparison from its configuration to all that its statistics are made of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deepchest_cli.comparison.running.arms import Arm, parse_arms
from deepchest_cli.comparison.running.fairness import Start, common_starts
from deepchest_cli.comparison.running.folder import opened, record_configuration
from deepchest_cli.comparison.running.jobs import (
    Job,
    compared_jobs,
    single_task_jobs,
    train_config,
    tuning_jobs,
)
from deepchest_cli.comparison.running.run import RunRecord, kept_record, release
from deepchest_cli.comparison.running.runner import ComparisonObserver, run_all
from deepchest_cli.comparison.running.scoring import score_all
from deepchest_cli.comparison.running.tuning import best_rates
from deepchest_cli.config import CompareConfig, parse_assignments
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.training.checks import refuse_unfit_splits, refuse_unfit_weighter
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import resolve_device
from deepchest_cli.training.resume import folder_to_resume, open_data_again
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
    trained: int  # how many of the runs were trained now, and not before

    def runs_of(self, arm: Arm) -> Runs:
        """Return an arm's runs, seed by seed and fold by fold."""
        return [(job, record) for job, record in self.runs if job.arm == arm]

    @property
    def finished_arms(self) -> list[Arm]:
        """The arms of which every run has finished."""
        return [arm for arm in self.arms if finished(self.runs_of(arm))]


def finished(runs: Runs) -> bool:
    """Whether there are runs and all of them have finished."""
    return bool(runs) and all(record.status == "finished" for _, record in runs)


def plan(
    config: CompareConfig, kept_rates: Path | None = None
) -> tuple[CompareConfig, RadiographDataset, tuple[Arm, ...]]:
    """Return the configuration with the one precision of all runs, data and arms.

    kept_rates: a file of measured rates, by which `auto` is chosen. Raises `UsageError` for
    whatever would fail only after hours.
    """
    if config.folds is not None and config.tune_learning_rate:
        raise UsageError(
            "--tune-learning-rate does not go with --folds: it would choose by patients whom other "
            "folds test on.",
            "Tune on a data set of its own, and give the rate with --learning-rate.",
        )
    arms, begun = parse_arms(config.weighters), folder_to_resume(config)
    dataset = open_data_again(config, begun) if begun else open_dataset(config.data)
    for device in devices_of(config):
        resolve_device(device)
    baseline, *others = compared_jobs(replace(config, seeds=1), arms[:1], Path(), {})
    for job in (baseline, *others):
        _refuse_unfit_view(job, dataset)
    view = baseline.view(dataset)
    first = replace(baseline.config, device=devices_of(config)[0])
    setup = build_components(first, dataset=view, rates_file=kept_rates)
    if begun is None:  # a folder to go on with has it in its configuration
        config = replace(config, precision=setup.precision)
    prevalence = torch.from_numpy(view.labels.mean(axis=0))
    for arm in arms:
        train = train_config(config, arm, 0)
        options = parse_assignments(arm.options, f"--weighters {arm.label}:")
        context = Context(0, prevalence, config.epochs)
        weighter = build_weighter(arm.weighter, dataset.findings, options, context)
        refuse_unfit_weighter(train, weighter, setup.classifier)
    del setup
    release()
    return config, dataset, arms


def _refuse_unfit_view(job: Job, dataset: RadiographDataset) -> None:
    view = job.view(dataset)
    where = "" if job.fold is None else f"Fold {job.fold[0] + 1} of {job.fold[1]}: "
    if not len(view.rows("test")):
        raise UsageError(
            f"{where}{job.config.data} has no test part to compare on.",
            f"Prepare the data with one, or use {'fewer --folds' if where else '--folds'}.",
        )
    try:
        refuse_unfit_splits(view, {part: view.rows(part) for part in SPLITS}, job.config)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", error.hint) from error


def devices_of(config: CompareConfig) -> list[str]:
    """Return the devices that runs are spread over."""
    return config.devices.replace(" ", "").split(",") if config.devices else [config.device]


@contextmanager
def compared(
    config: CompareConfig,
    observer: ComparisonObserver,
    progress: Callable[[int, int], None],
    kept_rates: Path | None = None,
) -> Iterator[Comparison]:
    """Train what is missing, then let each finished run predict the test part, once.

    config: to go on with a folder, as `widened` gives it. kept_rates: as for `plan`. The folder is
    held until the caller has done with the comparison. Raises `UsageError` before anything is
    trained, `InterruptedRunError` with all state saved, and `DeepChestError` where no weighter has
    finished all its runs.
    """
    config, dataset, arms = plan(config, kept_rates)
    with opened(config) as folder:
        yield _compare(config, arms, dataset, folder, observer, progress)


def _compare(
    config: CompareConfig,
    arms: tuple[Arm, ...],
    dataset: RadiographDataset,
    folder: Path,
    observer: ComparisonObserver,
    progress: Callable[[int, int], None],
) -> Comparison:
    devices = devices_of(config)
    tuning, rates = _tune(config, arms, folder, dataset, observer)
    jobs = compared_jobs(config, arms, folder, rates)
    alone = single_task_jobs(config, dataset.findings, folder, rates) if config.single_task else []
    # refuses other data before anything is written
    left = [job for job in (*jobs, *alone) if kept_record(job, dataset) is None]
    record_configuration(config, folder)
    records = run_all([*jobs, *alone], dataset, devices, observer)
    runs = list(zip(jobs, records, strict=False))
    single = list(zip(alone, records[len(jobs) :], strict=True))
    starts = common_starts(jobs, records[: len(jobs)])
    used = {arm.label: rates.get(arm.label, config.learning_rate) for arm in arms}
    found = Comparison(folder, config, dataset, arms, runs, single, tuning, used, starts, len(left))
    _refuse_nothing(found)
    whole = [job for job, record in [*runs, *single] if record.status == "finished"]
    score_all(whole, dataset, resolve_device(devices[0]), progress)
    return found


def _refuse_nothing(found: Comparison) -> None:
    if found.finished_arms:
        return
    error = next(record.error for _, record in found.runs if record.status != "finished")
    raise DeepChestError(
        f"No weighter has finished all its runs. The first that did not: {error}",
        f"The runs are in {found.folder}; a lower --learning-rate or --clip-grad-norm 1 may help.",
    )


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

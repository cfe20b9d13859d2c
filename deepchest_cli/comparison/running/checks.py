"""What a comparison is refused for, before anything is trained."""

from dataclasses import replace
from pathlib import Path

import torch

from deepchest_cli.comparison.running.devices import with_devices
from deepchest_cli.comparison.running.jobs import (
    Arm,
    Job,
    arm_jobs,
    parse_arms,
    single_task_jobs,
    train_config,
)
from deepchest_cli.comparison.running.records import refuse_other_data
from deepchest_cli.comparison.running.runner import ComparisonObserver
from deepchest_cli.config import CompareConfig, parse_assignments
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.reader import bytes_of, resolve_place
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.engines.dask_connection import local_processes, refuse_unreachable
from deepchest_cli.errors import UsageError
from deepchest_cli.training.checks import (
    refuse_broken_weighter,
    refuse_unfit_splits,
    refuse_unfit_weighter,
)
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import free_memory
from deepchest_cli.training.folds import (
    fewer_patients_than_folds,
    refuse_images_in_two_folds,
    without_test_split,
)
from deepchest_cli.training.resume import folder_to_resume, open_data_again
from deepchest_cli.training.tasks import choose_tasks
from deepchest_cli.weighting import Context, build_weighter


def check_comparison(
    config: CompareConfig, observer: ComparisonObserver, rates_file: Path | None
) -> tuple[CompareConfig, RadiographDataset, tuple[Arm, ...]]:
    """Return the configuration with what all runs have in common, the data and the arms.

    In common are the precision, the weights, the data, the kind of device and the threads. Raises
    `UsageError` for whatever would fail only after hours.
    """
    if config.dask is not None:
        refuse_unreachable(config.dask)
    if config.folds is not None and config.tune_learning_rate:
        raise UsageError(
            "--tune-learning-rate does not go with --folds: it would choose by patients whom other "
            "folds test on.",
            "Tune on a data set of its own, and give the rate with --learning-rate.",
        )
    arms, resumed = parse_arms(config.weighters), folder_to_resume(config)
    dataset = open_data_again(config, resumed) if resumed else open_datasets(config.data)
    if config.data_sha256:
        refuse_other_data(config.data_sha256, dataset, f"{resumed} began")
    config, is_here = with_devices(config, resumed)
    if config.folds is not None:
        refuse_images_in_two_folds(dataset)
    jobs = arm_jobs(config, arms[:1], Path(), {})
    alone = single_task_jobs(config, dataset.findings, Path(), {}) if config.single_task else []
    for job in [*jobs, *alone]:  # each seed has other folds
        _check_splits(job, dataset)
    device = config.device_list[0] if is_here else "cpu"
    config = _planned(config, arms, jobs[0].on(device), dataset, observer, rates_file)
    free_memory()  # all that refers to the model is gone
    threads = config.threads or max(torch.get_num_threads() // _places(config), 1)
    return replace(config, threads=threads, data_sha256=dataset.sha256), dataset, arms


def _places(config: CompareConfig) -> int:
    """Return how many runs share this machine at a time."""
    here = None if config.dask is None else local_processes(config.dask)
    return here or len(config.device_list)


def _planned(
    config: CompareConfig,
    arms: tuple[Arm, ...],
    first: Job,
    dataset: RadiographDataset,
    observer: ComparisonObserver,
    rates_file: Path | None,
) -> CompareConfig:
    """Return the configuration with the common precision and weights, tried on the first run.

    Its model is built, and no image is read.
    """
    view = first.view(dataset)
    # images that are uploaded here would only be uploaded again
    tried = replace(first.config, cache="none")
    components = build_components(tried, dataset=view, rates_file=rates_file)
    rows = len(components.training_rows) + len(components.validation_rows)
    needed = bytes_of(rows, view.size)
    resolve_place(config.cache, needed, components.device, _places(config))
    if components.config.backbone_sha256 is not None:  # of one's own, in the place where it is now
        config = replace(
            config,
            backbone=components.config.backbone,
            backbone_sha256=components.config.backbone_sha256,
        )
    if folder_to_resume(config) is None:  # a resumed comparison keeps both in its configuration
        common = components.config
        config = replace(
            config,
            precision=components.precision,
            weights=common.weights,
            weights_sha256=common.weights_sha256,
        )
    for warning in components.warnings:
        observer.on_warning(warning)
    tasks = choose_tasks(tried, view, torch.device("cpu"))
    labels, known = tasks.labels(view)
    prevalence = torch.from_numpy((labels * known).sum(axis=0) / known.sum(axis=0).clip(1))
    for arm in arms:
        options = parse_assignments(arm.options, f"--weighters {arm.label}:")
        context = Context(0, prevalence, config.epochs)
        train = train_config(config, arm, 0)
        weighter = build_weighter(
            arm.weighter, tasks.names, options, context, train.weighter_sha256
        )
        refuse_broken_weighter(train, tasks.names, options)
        refuse_unfit_weighter(train, weighter, components.classifier)
    return config


def _check_splits(job: Job, dataset: RadiographDataset) -> None:
    view = job.view(dataset)
    seed = job.config.seed
    where = "" if job.fold is None else f"Seed {seed}, fold {job.fold_number} of {job.fold[1]}: "
    where = where if job.finding is None else f"{job.name}: "
    untested = without_test_split(view)
    if untested is not None and job.fold is not None:
        raise fewer_patients_than_folds(untested, where)
    if untested is not None:
        raise UsageError(
            f"{untested.folder} has no test split to compare on.",
            "Prepare the data with one, or use --folds.",
        )
    try:
        refuse_unfit_splits(view, {split: view.rows(split) for split in SPLITS}, job.config)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", error.hint) from error

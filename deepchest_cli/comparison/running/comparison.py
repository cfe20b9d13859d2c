"""A comparison from its configuration to trained runs with predictions of the test split."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from deepchest_cli.comparison.running.devices import refuse_unfit_devices
from deepchest_cli.comparison.running.folder import locked_folder, write_configuration
from deepchest_cli.comparison.running.jobs import (
    Arm,
    Job,
    arm_jobs,
    parse_arms,
    single_task_jobs,
    train_config,
    tuning_jobs,
)
from deepchest_cli.comparison.running.run import (
    RunRecord,
    final_record,
    retrain_hint,
)
from deepchest_cli.comparison.running.runner import ComparisonObserver, train_all
from deepchest_cli.config import CompareConfig, parse_assignments
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.reader import bytes_of, resolve_place
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.training.checks import (
    refuse_broken_weighter,
    refuse_unfit_splits,
    refuse_unfit_weighter,
)
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import free_memory
from deepchest_cli.training.resume import folder_to_resume, open_data_again
from deepchest_cli.training.tasks import choose_tasks
from deepchest_cli.weighting import Context, build_weighter

Runs = list[tuple[Job, RunRecord]]


@dataclass(frozen=True)
class SharedStart:
    """The initial weights and the batches that all runs of a seed, and of a fold, have shared."""

    seed: int
    fold: int | None  # counted from 1
    initial_weights_sha256: str
    batches_sha256: tuple[str, ...]  # of all rows up to each epoch's end, of the longest run
    runs: int


@dataclass(frozen=True)
class TrainedComparison:
    """The runs of a comparison, trained and with predictions of the test split."""

    folder: Path
    config: CompareConfig
    dataset: RadiographDataset
    arms: tuple[Arm, ...]
    runs: Runs  # of the arms, seed by seed
    single_task: Runs  # of models of one finding each
    tuning: Runs
    learning_rates: dict[str, float]  # by the arm's label
    shared_starts: list[SharedStart]
    newly_trained: int  # number of runs that were not already final before

    def runs_of(self, arm: Arm) -> Runs:
        """Return an arm's runs, seed by seed and fold by fold."""
        return [(job, record) for job, record in self.runs if job.arm == arm]

    @property
    def finished_arms(self) -> list[Arm]:
        """The arms whose runs have all finished."""
        return [arm for arm in self.arms if all_finished(self.runs_of(arm))]


def all_finished(runs: Runs) -> bool:
    """Whether there are runs and all of them have finished."""
    return bool(runs) and all(record.status == "finished" for _, record in runs)


@contextmanager
def train_comparison(
    config: CompareConfig,
    observer: ComparisonObserver,
    rates_file: Path | None = None,
) -> Iterator[TrainedComparison]:
    """Train the missing runs, each of which predicts the test split once it has finished.

    config: of a comparison to resume, as `extended_config` returns it. rates_file: a file of
    measured rates by which `auto` precision is chosen. The folder is locked until the context
    ends. Raises `UsageError` before anything is trained, `InterruptedRunError` with all state
    saved, and `DeepChestError` where no weighter has finished all its runs.
    """
    config, dataset, arms = _check(config, observer, rates_file)
    devices = config.device_list
    with locked_folder(config) as folder:
        tuning: Runs = []
        if config.tune_learning_rate:
            jobs = tuning_jobs(config, arms, folder)
            tuning = list(zip(jobs, train_all(jobs, dataset, devices, observer), strict=True))
        tuned = _best_learning_rates(tuning)
        jobs = arm_jobs(config, arms, folder, tuned)
        if config.single_task:
            jobs += single_task_jobs(config, dataset.findings, folder, tuned)
        # raises for other data before anything is written
        missing = [job for job in jobs if final_record(job, dataset) is None]
        write_configuration(config, folder)
        runs = list(zip(jobs, train_all(jobs, dataset, devices, observer), strict=True))
        arm_runs = [run for run in runs if run[0].finding is None]
        comparison = TrainedComparison(
            folder=folder,
            config=config
            if devices == config.device_list
            else replace(config, devices=",".join(devices)),
            dataset=dataset,
            arms=arms,
            runs=arm_runs,
            single_task=[run for run in runs if run[0].finding is not None],
            tuning=tuning,
            learning_rates={arm.label: tuned.get(arm.label, config.learning_rate) for arm in arms},
            shared_starts=verify_shared_starts(arm_runs),
            newly_trained=len(missing),
        )
        _require_a_finished_arm(comparison)
        yield comparison


def _check(
    config: CompareConfig, observer: ComparisonObserver, rates_file: Path | None
) -> tuple[CompareConfig, RadiographDataset, tuple[Arm, ...]]:
    """Return the configuration with the common precision and weights, the data and the arms.

    Raises `UsageError` for whatever would fail only after hours.
    """
    if config.folds is not None and config.tune_learning_rate:
        raise UsageError(
            "--tune-learning-rate does not go with --folds: it would choose by patients whom other "
            "folds test on.",
            "Tune on a data set of its own, and give the rate with --learning-rate.",
        )
    arms, resumed = parse_arms(config.weighters), folder_to_resume(config)
    dataset = open_data_again(config, resumed) if resumed else open_datasets(config.data)
    refuse_unfit_devices(config, resumed)
    if config.folds is not None:
        _refuse_shared_images(dataset)
    jobs = arm_jobs(config, arms[:1], Path(), {})
    alone = single_task_jobs(config, dataset.findings, Path(), {}) if config.single_task else []
    for job in [*jobs, *alone]:  # each seed has other folds
        _check_splits(job, dataset)
    config = _planned(config, arms, jobs[0], dataset, observer, rates_file)
    free_memory()  # all that refers to the model is gone
    return config, dataset, arms


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
    tried = replace(first.config, device=config.device_list[0], cache="none")
    components = build_components(tried, dataset=view, rates_file=rates_file)
    rows = len(components.training_rows) + len(components.validation_rows)
    needed, processes = bytes_of(rows, view.size), len(config.device_list)
    resolve_place(config.cache, needed, components.device, processes)
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
    tested = view.member[view.rows("test")]
    for number, member in enumerate(view.members):
        if number in tested or not member.findings:
            continue
        if job.fold is not None:
            raise UsageError(
                f"{where}{member.folder} has fewer patients than folds.", "Use fewer --folds."
            )
        raise UsageError(
            f"{member.folder} has no test split to compare on.",
            "Prepare the data with one, or use --folds.",
        )
    try:
        refuse_unfit_splits(view, {split: view.rows(split) for split in SPLITS}, job.config)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", error.hint) from error


def _refuse_shared_images(dataset: RadiographDataset) -> None:
    """Raise `UsageError` where images of several data sets would come into different folds."""
    _, place = np.unique(dataset.pixel_hash, return_inverse=True)
    order = np.lexsort((dataset.member, place))
    order = order[dataset.columns["split"][order] != ""]
    one, other = order[:-1], order[1:]
    patients = dataset.columns["patient_id"]
    shared = (place[one] == place[other]) & (dataset.member[one] != dataset.member[other])
    shared &= patients[one] != patients[other]
    if shared.any():
        rows = one[shared][0], other[shared][0]
        folders = " and ".join(str(dataset.members[dataset.member[row]].folder) for row in rows)
        names = " and ".join(str(dataset.columns["image_index"][row]) for row in rows)
        raise UsageError(
            f"--folds would train on images that are tested in another data set: "
            f"{count_of(int(shared.sum()), 'image is', 'images are')} (by pixel hash) in two of "
            f"them, of different patients; the first in {folders} ({names}).",
            "Take these images out of one of them, or compare without --folds.",
        )


def _best_learning_rates(runs: Runs) -> dict[str, float]:
    """Return the rate with the best validation score by the arm's label; of equals the lowest.

    An arm that diverged at every rate gets the lowest.
    """
    best: dict[str, tuple[float, float]] = {}
    for job, record in runs:
        score = record.best_score if record.status == "finished" else None
        candidate = (float("-inf") if score is None else score, -job.config.learning_rate)
        best[job.arm.label] = max(best.get(job.arm.label, candidate), candidate)
    return {label: -rate for label, (_, rate) in best.items()}


def _require_a_finished_arm(comparison: TrainedComparison) -> None:
    if comparison.finished_arms:
        return
    first = next(record for _, record in comparison.runs if record.status != "finished")
    way = "a lower --learning-rate or --clip-grad-norm 1 may help"
    if not first.is_final:
        way = "--resume tries those that have failed again"
    raise DeepChestError(
        f"No weighter has finished all its runs. The first error: {first.error}",
        f"The runs are in {comparison.folder}; {way}.",
    )


def verify_shared_starts(runs: Sequence[tuple[Job, RunRecord]]) -> list[SharedStart]:
    """Return the start that the runs of each seed and fold share.

    Raises `DeepChestError` where a run had other initial weights or other batches than the rest,
    or was computed in another precision or on another kind of device.
    """
    groups: dict[tuple[int, int | None], Runs] = {}
    for job, record in runs:
        if record.initial_weights_sha256:  # empty where the run could not begin
            groups.setdefault((job.config.seed, job.fold_number), []).append((job, record))
    return [_shared_start(seed, fold, group) for (seed, fold), group in groups.items()]


def _shared_start(seed: int, fold: int | None, group: Runs) -> SharedStart:
    longest = max((record for _, record in group), key=lambda record: len(record.batches_sha256))
    first_job, first = group[0]
    for job, record in group:
        epochs = len(record.batches_sha256)  # a run may have stopped early
        expected = longest.initial_weights_sha256, longest.batches_sha256[:epochs]
        if (record.initial_weights_sha256, record.batches_sha256) != expected:
            raise DeepChestError(
                f"{job.name} began with other weights or saw other batches than the runs that it "
                "is compared with.",
                retrain_hint(job.folder),
            )
        if (record.device, record.precision) != (first.device, first.precision):
            raise DeepChestError(
                f"{job.name} was computed on {record.device} in {record.precision}, and "
                f"{first_job.name}, which it is compared with, on {first.device} in "
                f"{first.precision}.",
                "Give one --device and one --precision to all runs, in a new comparison.",
            )
    return SharedStart(
        seed, fold, longest.initial_weights_sha256, longest.batches_sha256, len(group)
    )

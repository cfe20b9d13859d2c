"""A comparison from its configuration to trained runs with predictions of the test split."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepchest_cli.comparison.running.checks import check_comparison
from deepchest_cli.comparison.running.devices import refuse_other_kind, with_devices
from deepchest_cli.comparison.running.folder import (
    going_on,
    locked_folder,
    refuse_other_environment,
    refuse_other_plan,
    write_configuration,
)
from deepchest_cli.comparison.running.job_list import JobList, Runs, best_learning_rates
from deepchest_cli.comparison.running.jobs import Arm, Job, parse_arms
from deepchest_cli.comparison.running.records import (
    RunRecord,
    final_record,
    is_complete,
    latest_record,
    read_record,
    refuse_other_data,
)
from deepchest_cli.comparison.running.runner import (
    ComparisonObserver,
    open_engine,
    train_all,
)
from deepchest_cli.comparison.running.shared_starts import SharedStart, verify_shared_starts
from deepchest_cli.comparison.running.tracking import (
    begin_tracking,
    found_tracking,
    left_unfinished,
)
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of, few
from deepchest_cli.engines.base import Engine
from deepchest_cli.engines.local import InProcess
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import locked
from deepchest_cli.training.resume import folder_to_resume, open_data_again
from deepchest_cli.training.tracking.base import Destinations, GroupTracking

HERE = Destinations()


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
    # those of the plan that are not in `runs`, `single_task` or `tuning`; while tuning runs are
    # missing these alone, since the learning rates of the others are not known
    missing: tuple[Job, ...] = ()
    numbers: Mapping[Path, int] = field(default_factory=dict)  # of jobs by their folders, from 1
    engine: Engine | None = None  # of a cluster that is still there
    tracking: GroupTracking | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no run is missing; those that have failed are not."""
        return not self.missing

    def runs_of(self, arm: Arm) -> Runs:
        """Return an arm's runs, seed by seed and fold by fold."""
        return [(job, record) for job, record in self.runs if job.arm == arm]

    def missing_of(self, arm: Arm) -> list[Job]:
        """Return an arm's missing runs."""
        return [job for job in self.missing if job.arm == arm and job.finding is None]

    @property
    def finished_arms(self) -> list[Arm]:
        """The arms whose planned runs have all finished."""
        return [
            arm for arm in self.arms if not self.missing_of(arm) and all_finished(self.runs_of(arm))
        ]


def all_finished(runs: Runs) -> bool:
    """Whether there are runs and all of them have finished."""
    return bool(runs) and all(record.status == "finished" for _, record in runs)


@contextmanager
def train_comparison(
    config: CompareConfig,
    observer: ComparisonObserver,
    rates_file: Path | None = None,
    destinations: Destinations = HERE,
) -> Iterator[TrainedComparison]:
    """Train the missing runs, each of which predicts the test split once it has finished.

    config: of a comparison to resume, as `extended_config` returns it. rates_file: a file of
    measured rates by which `auto` precision is chosen. destinations: of the records of trackers.
    The folder is locked until the context ends. Raises `UsageError` before anything is trained,
    `InterruptedRunError` with all state saved, and `DeepChestError` where no weighter has finished
    all its runs.
    """
    config, dataset, arms = check_comparison(config, observer, rates_file)
    devices, device = config.device_list, config.device_list[0]
    with locked_folder(config) as folder:
        tracking = begin_tracking(config, folder, destinations)
        jobs = JobList(config, arms, dataset.findings, folder, tracking)
        with (
            left_unfinished(tracking, folder),
            open_engine(config, devices, dataset, folder, observer) as engine,
        ):
            newly_trained = sum(final_record(job, dataset) is None for job in jobs.tuning)
            tuning = train_all(jobs.tuning, dataset, device, engine, observer)
            rates = best_learning_rates(tuning)
            compared = jobs.compared(rates)
            # raises for other settings before anything is written
            newly_trained += sum(final_record(job, dataset) is None for job in compared)
            write_configuration(config, folder)
            runs = train_all(compared, dataset, device, engine, observer)
            left = config if devices == config.device_list else _on(config, devices)
            comparison = _comparison(replace(jobs, config=left), dataset, tuning, runs)
            comparison = replace(comparison, newly_trained=newly_trained, engine=engine)
            require_a_finished_arm(comparison)
            yield comparison


def _on(config: CompareConfig, devices: list[str]) -> CompareConfig:
    """Return the configuration with the devices that are left."""
    return replace(config, devices=",".join(devices))


def plan_comparison(
    config: CompareConfig,
    observer: ComparisonObserver,
    rates_file: Path | None = None,
    destinations: Destinations = HERE,
) -> JobList:
    """Check a comparison and write its folder without a run; return its jobs.

    Raises `UsageError` as `train_comparison` does.
    """
    config, dataset, arms = check_comparison(config, observer, rates_file)
    with locked_folder(config) as folder:
        write_configuration(config, folder)
        tracking = begin_tracking(config, folder, destinations)
        return JobList(config, arms, dataset.findings, folder, tracking)


def read_comparison(config: CompareConfig, destinations: Destinations = HERE) -> TrainedComparison:
    """Return what is there of a comparison that was begun, whoever trains it.

    config: as `extended_config` returns it.
    """
    jobs, dataset = begun_jobs(config)
    jobs = replace(jobs, tracking=begin_tracking(config, jobs.folder, destinations))
    tuning, waiting = _tuned(jobs, dataset)
    runs: Runs = []
    if not waiting:
        runs, waiting = _there(jobs.compared(best_learning_rates(tuning)), dataset)
    return replace(_comparison(jobs, dataset, tuning, runs), missing=tuple(waiting))


def _tuned(jobs: JobList, dataset: RadiographDataset) -> tuple[Runs, list[Job]]:
    """Return the runs that choose learning rates, and the jobs that these still need."""
    runs, waiting = _there(jobs.tuning, dataset)
    failed = [job for job, record in runs if not record.is_final]
    return [run for run in runs if run[0] not in failed], [*waiting, *failed]


def _there(jobs: list[Job], dataset: RadiographDataset) -> tuple[Runs, list[Job]]:
    """Return the runs that have ended, also in a failure, and the jobs that have not."""
    runs: Runs = []
    waiting = []
    for job in jobs:
        final = final_record(job, dataset)
        record = final or latest_record(job.folder)
        # a result that has not taken the run's place yet is not there
        if record is None or (record.is_final and not is_complete(job, final)):
            waiting.append(job)
        else:
            runs.append((job, record))
    return runs, waiting


def complete_numbered_job(
    config: CompareConfig,
    number: int,
    observer: ComparisonObserver,
    destinations: Destinations = HERE,
) -> tuple[Job, RunRecord]:
    """Complete job `number` of a comparison that was planned; return it with its record.

    Does nothing where it has finished. Raises `UsageError` for a number that the plan does not
    have, on other data or another kind of device, and for a job whose learning rate is not known
    before others have finished; else what `complete_job` raises.
    """
    jobs, dataset = begun_jobs(config)
    jobs = replace(jobs, tracking=found_tracking(config, jobs.folder, destinations))
    refuse_other_environment(jobs.folder)
    if config.threads is None:
        raise UsageError(
            f"{jobs.folder} was begun before jobs had numbers: how many threads compute a run is "
            "not recorded.",
            f"Plan it first: --plan --resume {jobs.folder}",
        )
    listed, job = _numbered(jobs, number, dataset)
    device = with_devices(replace(config, plan=False), jobs.folder)[0].device_list[0]
    records = {one.folder: read_record(one.folder) for one in listed}
    refuse_other_kind([job, *(one for one in listed if records[one.folder])], records, device)
    with going_on(jobs.folder, config), locked(jobs.folder, shared=True):
        ((_, record),) = train_all([job], dataset, device, InProcess(device), observer)
    return job, record


def _numbered(jobs: JobList, number: int, dataset: RadiographDataset) -> tuple[list[Job], Job]:
    """Return a job by its number, and before it the list, of the two, that it is in."""
    count, tuning = len(jobs), jobs.tuning
    if number > count:
        raise UsageError(
            f"--job {number}: {jobs.folder} has {count_of(count, 'job')}.",
            f"Give --job 1 to {count}.",
        )
    if number <= len(tuning):
        return tuning, tuning[number - 1]
    runs, waiting = _tuned(jobs, dataset)
    if waiting:
        numbers = [n for n, job in enumerate(tuning, 1) if job in waiting]
        raise UsageError(
            f"--job {number} needs the learning rates that jobs 1 to {len(tuning)} choose; "
            f"{count_of(len(numbers), 'of them has', 'of them have')} not finished: "
            f"{few(map(str, numbers))}.",
            "Complete these first.",
        )
    compared = jobs.compared(best_learning_rates(runs))
    return compared, compared[number - 1 - len(tuning)]


def begun_jobs(config: CompareConfig) -> tuple[JobList, RadiographDataset]:
    """Return the jobs and the data of a comparison that was begun.

    Raises `UsageError` for other data than those that it began with, and for flags that would add
    runs.
    """
    folder = folder_to_resume(config)
    if folder is None:
        raise UsageError("--job and --report need the folder of a plan.", "Add --resume FOLDER.")
    refuse_other_plan(config, folder)
    dataset = open_data_again(config, folder)
    if config.data_sha256:
        refuse_other_data(config.data_sha256, dataset, f"{folder} was planned")
    return JobList(config, parse_arms(config.weighters), dataset.findings, folder), dataset


def _comparison(
    jobs: JobList, dataset: RadiographDataset, tuning: Runs, runs: Runs
) -> TrainedComparison:
    """Return a comparison of the runs that have ended."""
    rates = best_learning_rates(tuning)
    arm_runs = [run for run in runs if run[0].finding is None]
    everything = [*jobs.tuning, *jobs.compared(rates)]
    return TrainedComparison(
        folder=jobs.folder,
        config=jobs.config,
        dataset=dataset,
        arms=jobs.arms,
        runs=arm_runs,
        single_task=[run for run in runs if run[0].finding is not None],
        tuning=tuning,
        learning_rates={
            arm.label: rates.get(arm.label, jobs.config.learning_rate) for arm in jobs.arms
        },
        shared_starts=verify_shared_starts(arm_runs),
        newly_trained=0,
        tracking=jobs.tracking,
        numbers={job.folder: number for number, job in enumerate(everything, 1)},
    )


def require_a_finished_arm(comparison: TrainedComparison) -> None:
    """Raise `DeepChestError` where no weighter has finished all its runs."""
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

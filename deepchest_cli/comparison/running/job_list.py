"""The numbered jobs of a comparison: runs that choose learning rates, then those it compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deepchest_cli.comparison.running.jobs import (
    Arm,
    Job,
    arm_jobs,
    single_task_jobs,
    tuning_jobs,
)
from deepchest_cli.comparison.running.records import RunRecord
from deepchest_cli.config import CompareConfig
from deepchest_cli.training.tracking.base import GroupTracking

Runs = list[tuple[Job, RunRecord]]


@dataclass(frozen=True)
class JobList:
    """The jobs of a comparison, numbered from 1: its configuration alone determines them.

    What learning rates the second part has follows from the records of the first one.
    """

    config: CompareConfig
    arms: tuple[Arm, ...]
    findings: tuple[str, ...]
    folder: Path
    tracking: GroupTracking | None = None

    @cached_property
    def tuning(self) -> list[Job]:
        """The runs that choose each arm's learning rate; none without --tune-learning-rate."""
        if not self.config.tune_learning_rate:
            return []
        return self._completed(tuning_jobs(self.config, self.arms, self.folder))

    def compared(self, rates: Mapping[str, float]) -> list[Job]:
        """Return the runs of the arms and those of single findings; `rates` by the arm's label."""
        jobs = arm_jobs(self.config, self.arms, self.folder, rates)
        if self.config.single_task:
            jobs += single_task_jobs(self.config, self.findings, self.folder, rates)
        return self._completed(jobs)

    def __len__(self) -> int:
        return len(self.tuning) + len(self.compared({}))

    def _completed(self, jobs: Sequence[Job]) -> list[Job]:
        threads, tracking = self.config.threads, self.tracking
        return [replace(job, threads=threads, tracking=tracking) for job in jobs]


def best_learning_rates(runs: Runs) -> dict[str, float]:
    """Return the rate with the best validation score by the arm's label; of equals the lowest.

    An arm that diverged at every rate gets the lowest.
    """
    best: dict[str, tuple[float, float]] = {}
    for job, record in runs:
        score = record.best_score if record.status == "finished" else None
        candidate = (float("-inf") if score is None else score, -job.config.learning_rate)
        best[job.arm.label] = max(best.get(job.arm.label, candidate), candidate)
    return {label: -rate for label, (_, rate) in best.items()}

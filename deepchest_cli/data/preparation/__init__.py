"""From a source to shards: planned, converted in one pass, published whole or not at all."""

from deepchest_cli.data.preparation.job_plan import remaining_jobs
from deepchest_cli.data.preparation.jobs import CompletedJob, PlannedJobs, complete_job, plan_jobs
from deepchest_cli.data.preparation.planning import Plan, plan_preparation
from deepchest_cli.data.preparation.publishing import Preparation
from deepchest_cli.data.preparation.running import run_preparation

__all__ = [
    "CompletedJob",
    "Plan",
    "PlannedJobs",
    "Preparation",
    "complete_job",
    "plan_jobs",
    "plan_preparation",
    "remaining_jobs",
    "run_preparation",
]

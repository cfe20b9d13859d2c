"""The interim report of a comparison: what has finished and what is missing, without verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from deepchest_cli import __version__
from deepchest_cli.comparison.analysis.description import (
    complete_seeds,
    describe_data,
    describe_design,
    describe_runs,
)
from deepchest_cli.comparison.analysis.document import (
    RESAMPLING_SEED,
    seed_predictions,
    training_positives,
    unfinished,
)
from deepchest_cli.comparison.analysis.metrics import (
    SummaryMetric,
    describe,
    rarest_tertile,
    summary_metrics,
)
from deepchest_cli.comparison.analysis.scores import score
from deepchest_cli.comparison.running.comparison import TrainedComparison
from deepchest_cli.comparison.running.job_list import Runs
from deepchest_cli.comparison.running.jobs import Arm, Job
from deepchest_cli.comparison.running.run import tested_rows
from deepchest_cli.data.text import count_of
from deepchest_cli.evaluation.bootstrap import resample_patients

NO_VERDICTS = (
    "This report shows no differences and no verdicts: looking at differences early, and then "
    "stopping or adding seeds, raises the rate of false positives."
)


def build_interim(comparison: TrainedComparison) -> dict[str, Any]:
    """Return how far a comparison is, and each weighter's metrics over its complete seeds.

    Weighters stand in the order in which they were listed, and none is compared with another.
    """
    rarest = rarest_tertile(training_positives(comparison))
    metrics = summary_metrics(rarest)
    is_tuning = any(not job.scored for job in comparison.missing)
    if is_tuning:  # until all rates are chosen, the runs that are compared cannot begin
        comparison = replace(comparison, learning_rates={})
    arm_runs = comparison.tuning if is_tuning else comparison.runs
    runs = [*arm_runs, *comparison.single_task]
    progress = _progress(runs, comparison.missing)
    stage = "tuning" if is_tuning else "comparison"
    of_findings = [job for job in comparison.missing if job.finding is not None]
    return {
        "deepchest": __version__,
        "summary": [_progress_sentence(progress, stage), NO_VERDICTS],
        "stage": stage,
        "progress": progress,
        "missing": [
            {
                "run": job.name,
                "folder": str(job.folder.relative_to(comparison.folder)),
                "job": comparison.numbers.get(job.folder),
            }
            for job in comparison.missing
        ],
        "errors": unfinished([*comparison.tuning, *comparison.runs, *comparison.single_task]),
        "data": describe_data(comparison),
        "design": describe_design(comparison, metrics, rarest),
        "shared_starts": [asdict(start) for start in comparison.shared_starts],
        "weighters": {
            arm.label: _describe_weighter(comparison, arm, arm_runs, metrics)
            for arm in comparison.arms
        },
        "single_task": _progress(comparison.single_task, of_findings)
        if of_findings or comparison.single_task
        else None,
    }


def _progress(runs: Runs, missing: Sequence[Job]) -> dict[str, int]:
    """Return how many runs are planned, how many have ended in which way, and how many have not."""
    statuses = Counter(record.status for _, record in runs)
    return {
        "planned": len(runs) + len(missing),
        "finished": statuses["finished"],
        "diverged": statuses["diverged"],
        "failed": statuses["failed"],
        "missing": len(missing),
    }


def _progress_sentence(progress: Mapping[str, int], stage: str) -> str:
    one = "run that chooses a learning rate" if stage == "tuning" else "run"
    many = "runs that choose learning rates" if stage == "tuning" else "runs"
    parts = [f"{progress[key]:,} {key}" for key in ("diverged", "failed") if progress[key]]
    parts.append(count_of(progress["missing"], "is missing", "are missing"))
    return (
        f"{progress['finished']:,} of {count_of(progress['planned'], one, many)} "
        f"{'has' if progress['finished'] == 1 else 'have'} finished, {', '.join(parts)}."
    )


def _describe_weighter(
    comparison: TrainedComparison, arm: Arm, runs: Runs, metrics: Sequence[SummaryMetric]
) -> dict[str, Any]:
    seeds = complete_seeds(comparison, arm)
    described = describe_runs(comparison, arm)
    del described["status"]  # of an arm whose runs have all ended
    return {
        **described,
        "progress": _progress([r for r in runs if r[0].arm == arm], comparison.missing_of(arm)),
        "complete_seeds": seeds,
        "metrics": _means(comparison, arm, seeds, metrics) if seeds else None,
    }


def _means(
    comparison: TrainedComparison, arm: Arm, seeds: Sequence[int], metrics: Sequence[SummaryMetric]
) -> dict[str, Any]:
    """Return mean and SD of each metric over some seeds."""
    tables = seed_predictions(comparison, comparison.runs_of(arm), seeds)
    member = comparison.dataset.member[tested_rows(comparison.dataset, comparison.config.folds)]
    # a single replicate, since no interval is shown
    resampling = resample_patients(tables[0].patient_id, 1, RESAMPLING_SEED, member)
    scores, shown = score(tables, resampling, member), ("mean", "sd", "by_seed")
    found = {metric.name: describe(metric.of(scores)) for metric in metrics}
    return {name: {key: row[key] for key in shown} for name, row in found.items()}

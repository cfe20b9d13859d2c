"""The results document of a comparison: design, data, runs, metrics, tests, claims and costs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli import __version__
from deepchest_cli.comparison.analysis.claims import claims
from deepchest_cli.comparison.analysis.description import (
    describe_data,
    describe_design,
    describe_runs,
)
from deepchest_cli.comparison.analysis.evidence import Evidence
from deepchest_cli.comparison.analysis.metrics import (
    MACRO_AUROC,
    Rows,
    SummaryMetric,
    data_set_differences,
    delta_m,
    describe,
    differences,
    finding_differences,
    finding_metrics,
    mean_ranks,
    outlying_runs,
    rarest_tertile,
    summary_metrics,
)
from deepchest_cli.comparison.analysis.scores import Scores, score
from deepchest_cli.comparison.running.comparison import TrainedComparison, all_finished
from deepchest_cli.comparison.running.costs import Costs
from deepchest_cli.comparison.running.job_list import Runs
from deepchest_cli.comparison.running.jobs import BASELINE
from deepchest_cli.comparison.running.run import merge_predictions, tested_rows
from deepchest_cli.evaluation.bootstrap import Resampling, resample_patients
from deepchest_cli.evaluation.predictions import Predictions

RESAMPLING_SEED = 0  # fixed: every comparison of the same data resamples the same patients


def build_results(comparison: TrainedComparison, costs: Costs) -> dict[str, Any]:
    """Return the results in plain values; the same runs give the same ones, except for `costs`."""
    findings, config = comparison.dataset.findings, comparison.config
    tables = {
        arm.label: seed_predictions(comparison, comparison.runs_of(arm), config.seed_numbers)
        for arm in comparison.finished_arms
    }
    table = next(iter(tables.values()))[0]
    member = comparison.dataset.member[tested_rows(comparison.dataset, config.folds)]
    resampling = resample_patients(
        table.patient_id, config.bootstrap_replicates, RESAMPLING_SEED, member
    )
    scores = {label: score(seeds, resampling, member) for label, seeds in tables.items()}
    single_task = _single_task(comparison, resampling)
    rarest = rarest_tertile(training_positives(comparison))
    metrics = summary_metrics(rarest)
    outliers = outlying_runs(scores, config.margin)
    by_arm, by_data_set = _differences(scores, outliers, metrics, config.margin)
    by_finding = _finding_differences(scores, findings, config.margin)
    ranks = mean_ranks(scores)
    return {
        "deepchest": __version__,
        "data": describe_data(comparison),
        "design": describe_design(comparison, metrics, rarest),
        "shared_starts": [asdict(start) for start in comparison.shared_starts],
        "weighters": {
            arm.label: {
                **describe_runs(comparison, arm),
                **_describe_scores(scores.get(arm.label), single_task, metrics, findings),
                "mean_rank": ranks.get(arm.label),
                "differences": by_arm.get(arm.label),
                "finding_differences": by_finding.get(arm.label),
                "data_sets": {
                    comparison.dataset.members[number].name: {
                        "metrics": _metrics(one, metrics),
                        "differences": by_data_set.get((arm.label, number)),
                    }
                    for number, one in enumerate(_of_each(scores.get(arm.label)))
                },
            }
            for arm in comparison.arms
        },
        "outlying_runs": _describe_outlying(scores, outliers, config.seed_numbers),
        "single_task": None if single_task is None else _metrics(single_task, metrics),
        "single_task_unfinished": unfinished(comparison.single_task),
        "claims": claims(
            Evidence(
                arms=comparison.arms,
                scores=scores,
                best_epochs={
                    arm.label: [record.best_epoch for _, record in comparison.runs_of(arm)]
                    for arm in comparison.finished_arms
                },
                findings=findings,
                costs=costs,
                gradient_level=config.gradient_level,
                margin=config.margin,
            )
        ),
        "costs": costs,
    }


def _single_task(comparison: TrainedComparison, resampling: Resampling) -> Scores | None:
    """Return the scores of the models of one finding each; None unless all have finished."""
    runs, config = comparison.single_task, comparison.config
    if not all_finished(runs):
        return None
    member = comparison.dataset.member[tested_rows(comparison.dataset, config.folds)]
    return score(seed_predictions(comparison, runs, config.seed_numbers), resampling, member)


def _of_each(scores: Scores | None) -> Sequence[Scores]:
    """Return the scores on each data set; none of an arm that has not finished."""
    return () if scores is None else scores.of_each


def unfinished(runs: Runs) -> list[dict[str, Any]]:
    """Return the runs that have diverged or failed, with their errors."""
    return [
        {"run": job.name, "status": record.status, "error": record.error}
        for job, record in runs
        if record.status != "finished"
    ]


def _differences(
    scores: dict[str, Scores],
    outliers: dict[str, list[int]],
    metrics: tuple[SummaryMetric, ...],
    margin: float,
) -> tuple[dict[str, Rows], dict[tuple[str, int], Rows]]:
    """Return the differences to the baseline by arm, and by arm and data set; by metric each.

    There are none without the baseline.
    """
    if BASELINE not in scores:
        return {}, {}
    others = {label: one for label, one in scores.items() if label != BASELINE}
    of_baseline = outliers.get(BASELINE, [])
    either = {label: sorted({*outliers.get(label, []), *of_baseline}) for label in others}
    either = {label: seeds for label, seeds in either.items() if seeds}
    compared = (others, scores[BASELINE], metrics, margin, either)
    return differences(*compared), data_set_differences(*compared)


def _finding_differences(
    scores: dict[str, Scores], findings: tuple[str, ...], margin: float
) -> dict[str, Any]:
    """Return the differences to the baseline by arm, finding and metric, likewise."""
    if BASELINE not in scores:
        return {}
    return {
        label: finding_differences(one, scores[BASELINE], findings, margin)
        for label, one in scores.items()
        if label != BASELINE
    }


def _describe_outlying(
    scores: dict[str, Scores], outliers: dict[str, list[int]], seeds: range
) -> list[dict[str, Any]]:
    """Return the runs whose macro AUROC is far from that of the weighter's other seeds."""
    rows = []
    for label, places in outliers.items():
        values = MACRO_AUROC.of(scores[label])[0]
        for place in places:
            value, middle = float(values[place]), float(np.median(values))
            rows.append(
                {"weighter": label, "seed": seeds[place], "macro_auroc": value, "median": middle}
            )
    return rows


def seed_predictions(
    comparison: TrainedComparison, runs: Runs, seeds: Sequence[int]
) -> list[Predictions]:
    """Return the predictions of each seed, with all folds and findings in one table."""
    return [
        merge_predictions([job for job, _ in runs if job.config.seed == seed], comparison.dataset)
        for seed in seeds
    ]


def training_positives(comparison: TrainedComparison) -> NDArray[np.int64]:
    """Return the number of training images with each finding (T,); under folds, of all images."""
    dataset, folds = comparison.dataset, comparison.config.folds
    rows = dataset.rows("train") if folds is None else np.arange(len(dataset.labels))
    return np.asarray((dataset.labels[rows] * dataset.known[rows]).sum(axis=0, dtype=np.int64))


def _metrics(scores: Scores, metrics: tuple[SummaryMetric, ...]) -> dict[str, Any]:
    return {metric.name: describe(metric.of(scores)) for metric in metrics}


def _describe_scores(
    scores: Scores | None,
    single_task: Scores | None,
    metrics: tuple[SummaryMetric, ...],
    findings: tuple[str, ...],
) -> dict[str, Any]:
    if scores is None:  # of an arm that has not finished
        return {"metrics": None, "finding_metrics": None, "delta_m": None}
    return {
        "metrics": _metrics(scores, metrics),
        "finding_metrics": finding_metrics(scores, findings),
        "delta_m": None if single_task is None else delta_m(scores, single_task, findings),
    }

"""The results document of a comparison: design, data, runs, metrics, tests, claims and costs."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli import __version__
from deepchest_cli.comparison.analysis.claims import claims
from deepchest_cli.comparison.analysis.evidence import Evidence
from deepchest_cli.comparison.analysis.metrics import (
    MACRO_AUROC,
    Scores,
    SummaryMetric,
    delta_m,
    describe,
    differences,
    finding_differences,
    finding_metrics,
    mean_ranks,
    outlying_runs,
    rarest_tertile,
    score,
    summary_metrics,
)
from deepchest_cli.comparison.running.comparison import Runs, TrainedComparison, all_finished
from deepchest_cli.comparison.running.costs import Costs
from deepchest_cli.comparison.running.jobs import BASELINE, Arm
from deepchest_cli.comparison.running.run import merge_predictions
from deepchest_cli.config import RunConfig
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import LEVEL, MIN_PATIENTS, MIN_SEEDS, POWER
from deepchest_cli.training.run_directory import repeatable

RESULTS = "results.json"
RESAMPLING_SEED = 0  # fixed: every comparison of the same data resamples the same patients


def build_results(comparison: TrainedComparison, costs: Costs) -> dict[str, Any]:
    """Return the results in plain values; the same runs give the same ones, except for `costs`."""
    findings, config = comparison.dataset.findings, comparison.config
    tables = {
        arm.label: _tables(comparison, comparison.runs_of(arm)) for arm in comparison.finished_arms
    }
    table = next(iter(tables.values()))[0]
    resampling = resample_patients(table.patient_id, config.bootstrap_replicates, RESAMPLING_SEED)
    scores = {label: score(seeds, resampling) for label, seeds in tables.items()}
    single_task = None
    if all_finished(comparison.single_task):
        single_task = score(_tables(comparison, comparison.single_task), resampling)
    rarest = rarest_tertile(_training_positives(comparison))
    metrics = summary_metrics(rarest)
    outliers = outlying_runs(scores, config.margin)
    by_arm = _differences(scores, outliers, metrics, config.margin)
    by_finding = _finding_differences(scores, findings, config.margin)
    ranks = mean_ranks(scores)
    return {
        "deepchest": __version__,
        "data": _describe_data(comparison, table),
        "design": _describe_design(comparison, metrics, rarest),
        "shared_starts": [asdict(start) for start in comparison.shared_starts],
        "weighters": {
            arm.label: {
                **_describe_runs(comparison, arm),
                **_describe_scores(scores.get(arm.label), single_task, metrics, findings),
                "mean_rank": ranks.get(arm.label),
                "differences": by_arm.get(arm.label),
                "finding_differences": by_finding.get(arm.label),
            }
            for arm in comparison.arms
        },
        "outlying_runs": _describe_outlying(scores, outliers, config.seed_numbers),
        "single_task": None if single_task is None else _metrics(single_task, metrics),
        "single_task_unfinished": [
            {"run": job.name, "status": record.status, "error": record.error}
            for job, record in comparison.single_task
            if record.status != "finished"
        ],
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


def _differences(
    scores: dict[str, Scores],
    outliers: dict[str, list[int]],
    metrics: tuple[SummaryMetric, ...],
    margin: float,
) -> dict[str, Any]:
    """Return the differences to the baseline by arm and metric; none without the baseline."""
    if BASELINE not in scores:
        return {}
    others = {label: one for label, one in scores.items() if label != BASELINE}
    of_baseline = outliers.get(BASELINE, [])
    either = {label: sorted({*outliers.get(label, []), *of_baseline}) for label in others}
    either = {label: seeds for label, seeds in either.items() if seeds}
    return differences(others, scores[BASELINE], metrics, margin, either)


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


def _tables(comparison: TrainedComparison, runs: Runs) -> list[Predictions]:
    """Return the predictions of each seed, with all folds and findings in one table."""
    return [
        merge_predictions([job for job, _ in runs if job.config.seed == seed], comparison.dataset)
        for seed in comparison.config.seed_numbers
    ]


def _training_positives(comparison: TrainedComparison) -> NDArray[np.int64]:
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


def _describe_data(comparison: TrainedComparison, table: Predictions) -> dict[str, Any]:
    """Return what the runs were trained and tested on; `table` is of one seed."""
    dataset, folds = comparison.dataset, comparison.config.folds
    source, settings = dataset.manifest["source"], dataset.manifest["settings"]
    positives, known = (table.labels * table.known).sum(axis=0), table.known.sum(axis=0)
    return {
        "folder": str(comparison.config.data),
        "sha256": dataset.sha256,
        "synthetic": source["synthetic"],
        "label_version": source["label_version"],
        "split_scheme": settings["split_scheme"],
        "images": len(dataset.labels),
        "training_images": None if folds else len(dataset.rows("train")),
        "validation_images": None if folds else len(dataset.rows("validation")),
        "test_images": len(table.labels),
        "test_patients": len(np.unique(table.patient_id)),
        "findings": {
            name: {"positives": int(positives[i]), "known": int(known[i])}
            for i, name in enumerate(dataset.findings)
        },
    }


def _describe_design(
    comparison: TrainedComparison, metrics: tuple[SummaryMetric, ...], rarest: NDArray[np.int64]
) -> dict[str, Any]:
    config = repeatable(comparison.config)
    settings = {field.name: getattr(config, field.name) for field in fields(RunConfig)}
    return {
        "baseline": BASELINE,
        "weighters": [arm.label for arm in comparison.arms],
        "seeds": list(config.seed_numbers),
        "min_seeds": MIN_SEEDS,
        "min_patients": MIN_PATIENTS,
        "interim_analyses": _interim_analyses(comparison),
        "folds": config.folds,
        "bootstrap_replicates": config.bootstrap_replicates,
        "significance_level": LEVEL,
        "primary_metric": MACRO_AUROC.name,
        "margin": config.margin,
        "power": POWER,
        "learning_rates": comparison.learning_rates,
        "tuning": [
            {
                "weighter": job.arm.label,
                "learning_rate": job.config.learning_rate,
                "status": record.status,
                "validation_score": record.best_score,
            }
            for job, record in comparison.tuning
        ],
        "metrics": {metric.name: metric.title for metric in metrics},
        "rarest_tertile": [comparison.dataset.findings[i] for i in rarest],
        "settings": {
            key: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v
            for key, v in settings.items()
        },
    }


def _interim_analyses(comparison: TrainedComparison) -> list[dict[str, Any]]:
    """Return what was compared each time that results were computed in this folder.

    Seeds, weighters or a margin that change after results were seen inflate the rate of false
    positives.
    """
    current = {
        "weighters": [arm.label for arm in comparison.arms],
        "seeds": list(comparison.config.seed_numbers),
        "margin": comparison.config.margin,
    }
    try:
        text = (comparison.folder / RESULTS).read_text(encoding="utf-8")
        before: list[dict[str, Any]] = json.loads(text)["design"]["interim_analyses"]
    except (OSError, ValueError, KeyError, TypeError):  # missing, or damaged and written anew
        return [current]
    return before if current in before[-1:] else [*before, current]


def _describe_runs(comparison: TrainedComparison, arm: Arm) -> dict[str, Any]:
    runs = comparison.runs_of(arm)
    statuses = {record.status for _, record in runs}
    return {
        "status": next((s for s in ("diverged", "failed") if s in statuses), "finished"),
        "kind": "gradient" if arm.needs_gradients else "loss",
        "weighter_sha256": arm.weighter_sha256,
        "runs": [
            {
                "folder": str(job.folder.relative_to(comparison.folder)),
                "seed": job.config.seed,
                "fold": job.fold_number,
                "status": record.status,
                "error": record.error,
                "epochs": record.epochs,
                "best_epoch": record.best_epoch,
                "validation_score": record.best_score,
                "criterion": record.criterion,
                "initial_weights_sha256": record.initial_weights_sha256,
                "batches_sha256": record.batches_sha256[-1] if record.batches_sha256 else None,
                "notes": list(record.notes),
            }
            for job, record in runs
        ],
    }

"""What a comparison was made of: its data, its design and its runs, in plain values."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.comparison.analysis.metrics import MACRO_AUROC, SummaryMetric
from deepchest_cli.comparison.running.comparison import TrainedComparison, all_finished
from deepchest_cli.comparison.running.jobs import BASELINE, RESULTS, Arm
from deepchest_cli.comparison.running.run import tested_rows
from deepchest_cli.config import RunConfig
from deepchest_cli.evaluation.statistics import LEVEL, MIN_PATIENTS, MIN_SEEDS, POWER
from deepchest_cli.training.run_directory import repeatable

INTERIM = "interim.json"


def describe_data(comparison: TrainedComparison) -> dict[str, Any]:
    """Return what the runs were trained and tested on: all data, and each data set."""
    dataset, folds = comparison.dataset, comparison.config.folds
    tested = tested_rows(dataset, folds)

    def counts(rows: NDArray[np.int64], findings: tuple[str, ...]) -> dict[str, Any]:
        """Return the numbers of radiographs, and of labels and patients of the tested ones."""
        splits, test = dataset.columns["split"][rows], np.intersect1d(rows, tested)
        known = dataset.known[test]
        positives = (dataset.labels[test] * known).sum(axis=0, dtype=np.int64).tolist()
        columns = {name: dataset.findings.index(name) for name in findings}
        labeled = known.sum(axis=0, dtype=np.int64).tolist()
        return {
            "images": len(rows),
            "training_images": None if folds else int((splits == "train").sum()),
            "validation_images": None if folds else int((splits == "validation").sum()),
            "test_images": len(test),
            "test_patients": len(np.unique(dataset.columns["patient_id"][test])),
            "findings": {
                name: {"positives": positives[i], "known": labeled[i]}
                for name, i in columns.items()
            },
        }

    return {
        "sha256": dataset.sha256,
        "synthetic": dataset.is_synthetic,
        **counts(np.arange(len(dataset.labels)), dataset.findings),
        "data_sets": [
            {
                "name": member.name,
                "folder": str(member.folder),
                "sha256": member.sha256,
                "synthetic": member.manifest["source"]["synthetic"],
                "label_version": member.manifest["source"]["label_version"],
                "split_scheme": member.manifest["settings"]["split_scheme"],
                **counts(np.flatnonzero(dataset.member == number), member.findings),
            }
            for number, member in enumerate(dataset.members)
        ],
    }


def describe_design(
    comparison: TrainedComparison, metrics: tuple[SummaryMetric, ...], rarest: NDArray[np.int64]
) -> dict[str, Any]:
    """Return what was decided before training; rarest: columns of the rarest findings."""
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
    """Return what was compared each time that metrics were computed in this folder.

    Seeds, weighters or a margin that change after metrics were seen inflate the rate of false
    positives, whether differences were shown or only the means of an interim report.
    """
    current = {
        "weighters": [arm.label for arm in comparison.arms],
        "seeds": list(comparison.config.seed_numbers),
        "margin": comparison.config.margin,
    }
    # the longer one is the later one: results follow an interim report, and it follows results
    before = max((_analyses_in(comparison.folder / n) for n in (RESULTS, INTERIM)), key=len)
    nothing_to_see = not any(complete_seeds(comparison, arm) for arm in comparison.arms)
    if nothing_to_see or (before and current.items() <= before[-1].items()):
        return before
    return [*before, {**current, "missing_runs": len(comparison.missing)}]


def _analyses_in(path: Path) -> list[dict[str, Any]]:
    """Return the interim analyses of a document; none where it is missing or damaged."""
    try:
        looks = json.loads(path.read_text(encoding="utf-8"))["design"]["interim_analyses"]
        return [{**look, "missing_runs": look.get("missing_runs", 0)} for look in looks]
    except (OSError, ValueError, KeyError, TypeError):  # it is written anew
        return []


def complete_seeds(comparison: TrainedComparison, arm: Arm) -> list[int]:
    """Return the seeds of which all of an arm's runs have finished, one for each fold."""
    lacking = {job.config.seed for job in comparison.missing_of(arm)}
    seeds = [seed for seed in comparison.config.seed_numbers if seed not in lacking]
    runs = comparison.runs_of(arm)
    return [s for s in seeds if all_finished([run for run in runs if run[0].config.seed == s])]


def describe_runs(comparison: TrainedComparison, arm: Arm) -> dict[str, Any]:
    """Return how an arm's runs ended."""
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
                "earlier_errors": list(record.earlier_errors),
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

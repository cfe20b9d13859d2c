"""What was compared, on what data, and how its runs went, in plain values."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.comparison.analysis.scores import Quantity
from deepchest_cli.comparison.analysis.tables import FEWEST_PATIENTS
from deepchest_cli.comparison.running.arms import BASELINE, Arm
from deepchest_cli.comparison.running.comparison import Comparison
from deepchest_cli.comparison.running.jobs import needs_gradients
from deepchest_cli.config import RunConfig
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.statistics import FEWEST_SEEDS, LEVEL
from deepchest_cli.training.run_directory import repeatable

RESULTS = "results.json"


def training_positives(found: Comparison) -> NDArray[np.int64]:
    """Return how many training images have each finding (T,); under folds, of all images."""
    dataset = found.dataset
    everything = np.arange(len(dataset.labels))
    rows = dataset.rows("train") if found.config.folds is None else everything
    return np.asarray((dataset.labels[rows] * dataset.known[rows]).sum(axis=0, dtype=np.int64))


def describe_data(found: Comparison, table: Predictions) -> dict[str, Any]:
    """Return what the runs learned from and were tested on; `table` is of one seed."""
    manifest, dataset, folds = found.dataset.manifest, found.dataset, found.config.folds
    positives = (table.labels * table.known).sum(axis=0)
    return {
        "folder": str(found.config.data),
        "sha256": dataset.sha256,
        "synthetic": manifest["source"]["synthetic"],
        "label_version": manifest["source"]["label_version"],
        "split_scheme": manifest["settings"]["split_scheme"],
        "images": len(dataset.labels),
        "training_images": None if folds else len(dataset.rows("train")),
        "validation_images": None if folds else len(dataset.rows("validation")),
        "tested_images": len(table.labels),
        "tested_patients": len(np.unique(table.patient_id)),
        "findings": {
            name: {"positives": int(positives[i]), "known": int(table.known[:, i].sum())}
            for i, name in enumerate(dataset.findings)
        },
    }


def looks_of(found: Comparison) -> list[dict[str, Any]]:
    """Return what has been compared each time that results were computed in this folder.

    Whoever adds seeds or weighters after a look at the results tests more often than p-values know.
    """
    mine = {
        "weighters": [arm.label for arm in found.arms],
        "seeds": list(found.config.seed_numbers),
    }
    try:
        text = (found.folder / RESULTS).read_text(encoding="utf-8")
        before: list[dict[str, Any]] = json.loads(text)["design"]["looks"]
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged and written anew
        return [mine]
    return before if mine in before[-1:] else [*before, mine]


def describe_design(
    found: Comparison, measured: tuple[Quantity, ...], rare: NDArray[np.int64]
) -> dict[str, Any]:
    """Return who was compared, how often, by what, and with which settings; `rare` are columns."""
    config = repeatable(found.config)
    settings = {
        field.name: str(value) if isinstance(value, Path) else value
        for field in fields(RunConfig)
        for value in [getattr(config, field.name)]
    }
    return {
        "baseline": BASELINE,
        "weighters": [arm.label for arm in found.arms],
        "seeds": list(config.seed_numbers),
        "min_seeds": FEWEST_SEEDS,
        "min_patients": FEWEST_PATIENTS,
        "looks": looks_of(found),
        "folds": config.folds,
        "bootstrap_replicates": config.bootstrap_replicates,
        "level": LEVEL,
        "learning_rates": found.rates,
        "tuning": [
            {
                "weighter": job.arm.label,
                "learning_rate": job.config.learning_rate,
                "status": record.status,
                "validation": record.best_score,
            }
            for job, record in found.tuning
        ],
        "quantities": {quantity.name: quantity.title for quantity in measured},
        "rare_findings": [found.dataset.findings[i] for i in rare],
        "settings": {key: list(v) if isinstance(v, tuple) else v for key, v in settings.items()},
    }


def describe_runs(found: Comparison, arm: Arm) -> dict[str, Any]:
    """Return an arm's status and that of each of its runs."""
    runs = found.runs_of(arm)
    statuses = {record.status for _, record in runs}
    status = next((s for s in ("diverged", "failed") if s in statuses), "compared")
    return {
        "status": status,
        "kind": "gradient" if needs_gradients(arm) else "loss",
        "runs": [
            {
                "folder": str(job.folder.relative_to(found.folder)),
                "seed": job.config.seed,
                "fold": None if job.fold is None else job.fold[0] + 1,
                "status": record.status,
                "error": record.error,
                "epochs": record.epochs,
                "best_epoch": record.best_epoch,
                "validation": record.best_score,
                "criterion": record.criterion,
                "initial_weights": record.initial_weights,
                "batches": record.batches[-1] if record.batches else None,
                "notes": list(record.notes),
            }
            for job, record in runs
        ],
    }

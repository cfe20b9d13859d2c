"""The document of a comparison: what was compared, on what, and what came of it."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli import __version__
from deepchest_cli.config import RunConfig
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.comparison.claims import METHOD, claims
from deepchest_cli.evaluation.comparison.overall import delta_m, mean_ranks
from deepchest_cli.evaluation.comparison.scores import (
    Quantity,
    Scores,
    quantities,
    rarest_third,
    score,
)
from deepchest_cli.evaluation.comparison.statistic import FEWEST_SEEDS, LEVEL
from deepchest_cli.evaluation.comparison.tables import (
    FEWEST_PATIENTS,
    differences,
    finding_differences,
    finding_quality,
    quality,
)
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.files import to_json
from deepchest_cli.training.comparison.arms import BASELINE, Arm
from deepchest_cli.training.comparison.comparison import Comparison, Runs
from deepchest_cli.training.comparison.costs import Costs
from deepchest_cli.training.comparison.jobs import needs_gradients
from deepchest_cli.training.comparison.scoring import gathered

RESULTS = "results.json"
PATIENT_SEED = 0  # of the draws of patients: everybody's intervals are the same


def build_results(found: Comparison, costs: Costs) -> dict[str, Any]:
    """Return all figures in plain values; the same runs give the same, but for `costs`."""
    finished = {arm.label: arm for arm in found.finished_arms}
    tables = {label: _tables(found, found.runs_of(arm)) for label, arm in finished.items()}
    first = next(iter(tables.values()))[0]
    resampling = resample_patients(first.patient_id, found.config.replicates, PATIENT_SEED)
    scores = {label: score(table, resampling) for label, table in tables.items()}
    measured = quantities(rarest_third(_training_positives(found)))
    others = {label: one for label, one in scores.items() if label != BASELINE}
    baseline = scores.get(BASELINE)
    compared = differences(others, baseline, measured) if baseline and others else {}
    by_finding = {
        label: finding_differences(one, baseline, found.dataset.findings)
        for label, one in others.items()
        if baseline is not None
    }
    losses = by_finding.get(METHOD)
    single = score(_tables(found, found.single), resampling) if _finished(found.single) else None
    ranks = mean_ranks(scores)
    return {
        "deepchest": __version__,
        "data": _data(found, first),
        "design": _design(found, measured, looks_of(found)),
        "starts": [asdict(start) for start in found.starts],
        "weighters": {
            arm.label: {
                **_runs(found, arm),
                "quality": quality(scores[arm.label], measured) if arm.label in scores else None,
                "differences": compared.get(arm.label),
                "mean_rank": ranks.get(arm.label),
                "delta_m": _delta_m(scores.get(arm.label), single, found),
                "findings": finding_quality(scores[arm.label], found.dataset.findings)
                if arm.label in scores
                else None,
                "finding_differences": by_finding.get(arm.label),
            }
            for arm in found.arms
        },
        "single_task": None if single is None else quality(single, measured),
        "single_task_unfinished": [
            {"run": job.name, "status": record.status, "error": record.error}
            for job, record in found.single
            if record.status != "finished"
        ],
        "claims": claims(
            scores,
            None
            if losses is None
            else {finding: metrics["loss"] for finding, metrics in losses.items()},
            costs,
            [arm.label for arm in found.arms if needs_gradients(arm)],
            found.config.gradient_level,
        ),
        "costs": costs,
    }


def _finished(runs: Runs) -> bool:
    return bool(runs) and all(record.status == "finished" for _, record in runs)


def _tables(found: Comparison, runs: Runs) -> list[Predictions]:
    """Return the predictions of each seed, all folds and findings together."""
    return [
        gathered([job for job, _ in runs if job.config.seed == seed], found.dataset)
        for seed in found.config.seed_numbers
    ]


def _training_positives(found: Comparison) -> NDArray[np.int64]:
    dataset = found.dataset
    everything = np.arange(len(dataset.labels))
    rows = dataset.rows("train") if found.config.folds is None else everything
    return np.asarray((dataset.labels[rows] * dataset.known[rows]).sum(axis=0, dtype=np.int64))


def _delta_m(mine: Scores | None, single: Scores | None, found: Comparison) -> Any:
    if mine is None or single is None:
        return None
    return delta_m(mine, single, found.dataset.findings)


def _data(found: Comparison, table: Predictions) -> dict[str, Any]:
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
    path = found.folder / RESULTS
    if not path.is_file():
        return [mine]
    before: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["design"]["looks"]
    return before if before[-1] == mine else [*before, mine]


def _design(
    found: Comparison, measured: tuple[Quantity, ...], looks: list[dict[str, Any]]
) -> dict[str, Any]:
    config = found.config
    rare = rarest_third(_training_positives(found))
    settings = {
        field.name: str(value) if isinstance(value, Path) else value
        for field in fields(RunConfig)
        for value in [getattr(config, field.name)]
    }
    return {
        "baseline": BASELINE,
        "weighters": [arm.label for arm in found.arms],
        "seeds": list(config.seed_numbers),
        "fewest_seeds": FEWEST_SEEDS,
        "fewest_patients": FEWEST_PATIENTS,
        "looks": looks,
        "folds": config.folds,
        "replicates": config.replicates,
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


def _runs(found: Comparison, arm: Arm) -> dict[str, Any]:
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


def same_results(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two documents hold the same figures but for what was measured of the machine."""
    return to_json(_timeless(one)) == to_json(_timeless(other))


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    measured = ("speed", "memory")
    claims_left = [claim for claim in document["claims"] if claim["name"] not in measured]
    return {**document, "costs": None, "claims": claims_left}

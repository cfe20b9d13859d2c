"""The document of a comparison: what was compared, on what, and what came of it."""

from dataclasses import asdict
from typing import Any

from deepchest_cli import __version__
from deepchest_cli.comparison.analysis.claims import METHOD, claims
from deepchest_cli.comparison.analysis.description import (
    describe_data,
    describe_design,
    describe_runs,
    training_positives,
)
from deepchest_cli.comparison.analysis.overall import delta_m, mean_ranks
from deepchest_cli.comparison.analysis.scores import (
    Scores,
    quantities,
    rarest_third,
    score,
)
from deepchest_cli.comparison.analysis.tables import (
    differences,
    finding_differences,
    finding_quality,
    quality,
)
from deepchest_cli.comparison.running.arms import BASELINE
from deepchest_cli.comparison.running.comparison import Comparison, Runs, finished
from deepchest_cli.comparison.running.costs import Costs
from deepchest_cli.comparison.running.jobs import needs_gradients
from deepchest_cli.comparison.running.scoring import gathered
from deepchest_cli.evaluation.bootstrap import resample_patients
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.files import to_json

PATIENT_SEED = 0  # of the draws of patients: everybody's intervals are the same


def build_results(found: Comparison, costs: Costs) -> dict[str, Any]:
    """Return all figures in plain values; the same runs give the same, but for `costs`."""
    tables = {arm.label: _tables(found, found.runs_of(arm)) for arm in found.finished_arms}
    first = next(iter(tables.values()))[0]
    resampling = resample_patients(
        first.patient_id, found.config.bootstrap_replicates, PATIENT_SEED
    )
    scores = {label: score(table, resampling) for label, table in tables.items()}
    rare = rarest_third(training_positives(found))
    measured = quantities(rare)
    others = {label: one for label, one in scores.items() if label != BASELINE}
    baseline = scores.get(BASELINE)
    compared = differences(others, baseline, measured) if baseline and others else {}
    by_finding = {
        label: finding_differences(one, baseline, found.dataset.findings)
        for label, one in others.items()
        if baseline is not None
    }
    losses = by_finding.get(METHOD)
    single = score(_tables(found, found.single), resampling) if finished(found.single) else None
    ranks = mean_ranks(scores)
    return {
        "deepchest": __version__,
        "data": describe_data(found, first),
        "design": describe_design(found, measured, rare),
        "starts": [asdict(start) for start in found.starts],
        "weighters": {
            arm.label: {
                **describe_runs(found, arm),
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


def _tables(found: Comparison, runs: Runs) -> list[Predictions]:
    """Return the predictions of each seed, all folds and findings together."""
    return [
        gathered([job for job, _ in runs if job.config.seed == seed], found.dataset)
        for seed in found.config.seed_numbers
    ]


def _delta_m(mine: Scores | None, single: Scores | None, found: Comparison) -> Any:
    if mine is None or single is None:
        return None
    return delta_m(mine, single, found.dataset.findings)


def same_results(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two documents hold the same figures but for what was measured of the machine."""
    return to_json(_timeless(one)) == to_json(_timeless(other))


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    measured = ("speed", "memory")
    claims_left = [claim for claim in document["claims"] if claim["name"] not in measured]
    return {**document, "costs": None, "claims": claims_left}

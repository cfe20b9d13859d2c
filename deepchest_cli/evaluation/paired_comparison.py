"""Two models on the same patients: differences with paired intervals, corrected by Holm.

Both models are scored on the same resampled patients, so that the patients' effect on both cancels.
The p-value is the bootstrap's: twice the share of replicates on the lesser side of zero, at least
2 / (B + 1) for B replicates.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from deepchest_cli.data.matching import match_images
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    effective_patients,
    interval,
    patients_with,
    rarer_class_patients,
    resampled,
)
from deepchest_cli.evaluation.metrics import Floats, per_finding
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.reading.scores import Scores
from deepchest_cli.evaluation.statistics import MIN_PATIENTS, holm, mean_of_defined, verdict

METRICS = ("auroc", "average_precision")


def paired_with(scored: ScoredImages, scores: Scores, names: tuple[str, str]) -> ScoredImages:
    """Return the same images, in the same order, with another model's scores.

    Raises `UsageError` unless both models were given the same images and share a finding.
    """
    own, others = scored.image_index.tolist(), scores.images.tolist()
    found = match_images(others, own, scores.path)
    place = {row: number for number, row in enumerate(found) if row is not None}
    if not len(place) == len(own) == len(others):
        raise UsageError(
            f"{names[0]} and {names[1]} are not on the same images: {len(place):,} are "
            f"in both, {len(own) - len(place):,} and {len(others) - len(place):,} in one. "
            "Differences across splits would compare patients, not models.",
            "Predict the same images with both models.",
        )
    findings = tuple(f for f in scored.predictions.findings if f in scores.findings)
    if not findings:
        raise UsageError(
            f"{names[0]} and {names[1]} have no finding in common.",
            "Compare models of the same findings.",
        )
    rows = [place[row] for row in range(len(own))]
    columns = [scores.findings.index(name) for name in findings]
    table = scored.predictions.of_findings(findings)
    other = replace(table, probabilities=scores.probabilities[rows][:, columns])
    return replace(scored, predictions=other)


def compare(scored: ScoredImages, other: ScoredImages, resampling: Resampling) -> dict[str, Any]:
    """Return the differences, first minus other, by finding and over the findings of both.

    other: from `paired_with`; resampling: of the patients of `scored`.
    """
    two = other.predictions
    findings, one = two.findings, scored.predictions.of_findings(two.findings)
    document: dict[str, Any] = {"findings": {name: {} for name in findings}, "macro": {}}
    for metric in METRICS:
        values = per_finding(metric, one) - per_finding(metric, two)
        replicates = resampled(metric, one, resampling) - resampled(metric, two, resampling)
        patients = [rarer_class_patients(one, column) for column in range(len(findings))]
        rows = _tested(values, replicates, patients, _enough(one))
        for name, row in zip(findings, rows, strict=True):
            document["findings"][name][metric] = row
        means = mean_of_defined(replicates)[:, None]
        everyone = effective_patients(np.ones(len(one.patient_id)), one.patient_id)
        macro = _tested(np.array([mean_of_defined(values)]), means, [everyone], [True])
        document["macro"][metric] = macro[0]
    return document


def _enough(table: Predictions) -> list[bool]:
    """Whether enough patients have, and have not, each finding for a test of it alone."""
    sides = [(table.known == 1) & (table.labels == value) for value in (0, 1)]
    return [
        all(patients_with(side[:, i], table.patient_id) >= MIN_PATIENTS for side in sides)
        for i in range(len(table.findings))
    ]


def _tested(
    values: Floats, replicates: Floats, patients: list[float], enough: list[bool]
) -> list[dict[str, Any]]:
    raw = [
        _p_value(replicates[:, i]) if enough[i] and np.isfinite(values[i]) else None
        for i in range(len(values))
    ]
    rows = []
    for i, (p, corrected) in enumerate(zip(raw, holm(raw), strict=True)):
        found = interval(replicates[:, i], patients[i])
        rows.append(
            {
                "difference": float(values[i]),
                "low": found.low,
                "high": found.high,
                "p": p,
                "p_holm": corrected,
                "verdict": verdict(float(values[i]), corrected),
            }
        )
    return rows


def _p_value(replicates: Floats) -> float | None:
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < 2:
        return None
    least = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (least + 1) / (len(defined) + 1))

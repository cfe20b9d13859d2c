"""Two models on the same patients: differences with paired intervals, corrected by Holm.

Both models are scored on the same resampled patients; `differences.py` has the test.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from deepchest_cli.data.findings import match_findings
from deepchest_cli.data.matching import match_images
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.bootstrap import (
    Resampling,
    patients_with,
    rarer_class_patients,
    resampled,
)
from deepchest_cli.evaluation.differences import (
    PairedDifference,
    macro_carriers,
    paired_difference,
)
from deepchest_cli.evaluation.metrics import per_finding
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.reading.scores import Scores
from deepchest_cli.evaluation.statistics import (
    MIN_PATIENTS,
    Carriers,
    holm,
    mean_of_defined,
    verdict,
)

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
    shared = match_findings(scored.predictions.findings, scores.findings).shared
    if not shared:
        raise UsageError(
            f"{names[0]} and {names[1]} have no finding in common.",
            "Compare models of the same findings.",
        )
    rows = [place[row] for row in range(len(own))]
    columns = [scores.findings.index(theirs) for _, theirs in shared]
    table = scored.predictions.of_findings(tuple(ours for ours, _ in shared))
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
        patients = np.array([rarer_class_patients(one, i) for i in range(len(findings))])
        tested = [
            paired_difference(float(values[i]), replicates[:, i], Carriers.of(patients[i]))
            for i in range(len(findings))
        ]
        tested = [
            replace(found, p=None, not_tested=scarce) if scarce else found
            for found, scarce in zip(tested, _too_few(one), strict=True)
        ]
        for name, row in zip(findings, _rows(tested), strict=True):
            document["findings"][name][metric] = row
        mean, together = float(mean_of_defined(values)), macro_carriers(replicates, patients)
        macro = paired_difference(mean, mean_of_defined(replicates), together)
        document["macro"][metric] = _rows([macro])[0]
    return document


def _too_few(table: Predictions) -> list[str]:
    """Return for each finding why a test of it alone would rest on too few patients, or nothing."""
    sides = [(table.known == 1) & (table.labels == value) for value in (1, 0)]
    reasons = []
    for column in range(len(table.findings)):
        have, have_not = (patients_with(side[:, column], table.patient_id) for side in sides)
        reasons.append(
            f"fewer than {MIN_PATIENTS} patients with or without the finding "
            f"({have} and {have_not})"
            if min(have, have_not) < MIN_PATIENTS
            else ""
        )
    return reasons


def _rows(tested: list[PairedDifference]) -> list[dict[str, Any]]:
    """Return the differences as they are published, p-values corrected for their number."""
    corrected = holm([one.p for one in tested])
    return [
        {
            "difference": one.value,
            "low": one.low,
            "high": one.high,
            "p": one.p,
            "p_holm": p_holm,
            "verdict": verdict(one.value, p_holm),
            "not_tested": one.not_tested,
        }
        for one, p_holm in zip(tested, corrected, strict=True)
    ]

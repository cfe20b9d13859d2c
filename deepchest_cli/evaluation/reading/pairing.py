"""Predictions and labels of the same images: images and findings in both are scored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.findings import MatchedFindings, match_findings
from deepchest_cli.data.matching import match_images
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.predictions import ScoredImages
from deepchest_cli.evaluation.reading.labels import Labels, patients_of
from deepchest_cli.evaluation.reading.scores import Scores


@dataclass(frozen=True)
class Paired:
    """What is scored, and what was left over."""

    cases: ScoredImages
    findings: MatchedFindings  # predicted, labeled
    labels_without_predictions: int
    predictions_without_labels: tuple[str, ...]  # images


def pair(scores: Scores, labels: Labels, patients: NDArray[np.int64] | None = None) -> Paired:
    """Return the images and findings that both files have; what one of them lacks is counted.

    patients: (M,), of the labels' images, where they were worked out already. Raises `UsageError`
    where no image or no finding is in both files.
    """
    found = _rows(scores, labels)
    matched = shared_findings(
        (scores.findings, labels.findings), (str(scores.path), str(labels.path))
    )
    kept = np.flatnonzero([row is not None for row in found])
    rows = np.array([found[place] for place in kept], dtype=np.int64)
    sorting = np.argsort(rows)  # a file's order changes no metric
    order, rows = kept[sorting], rows[sorting]
    columns = [scores.findings.index(name) for name, _ in matched.shared]
    probabilities = scores.probabilities[order][:, columns]
    owners = patients_of(labels)[0] if patients is None else patients
    return Paired(
        labels.scored(rows, dict(matched.shared), probabilities, owners),
        matched,
        len(labels.images) - len(rows),
        tuple(n for n, row in zip(scores.images.tolist(), found, strict=True) if row is None),
    )


def _rows(scores: Scores, labels: Labels) -> list[int | None]:
    """Return where each prediction's image stands among the labels (N,); None: nowhere."""
    rows = match_images(scores.images.tolist(), labels.images.tolist(), scores.path)
    if all(row is None for row in rows):
        counted = count_of(len(rows), "image of", "images of")
        raise UsageError(
            f"No image is in both files: the {counted} {scores.path}, {few(scores.images)}, "
            f"{'has' if len(rows) == 1 else 'have'} no label in {labels.path}, which has "
            f"{few(labels.images)}.",
            "Name the images alike in both files.",
        )
    return rows


def shared_findings(
    findings: tuple[Sequence[str], Sequence[str]], places: tuple[str, str]
) -> MatchedFindings:
    """Return which findings are predicted and labeled, by the table of aliases.

    findings: predicted and labeled ones; places: what predicts and what labels them. Raises
    `UsageError` where none is in both, and where two names of one side are the same finding.
    """
    for names, place in zip(findings, places, strict=True):
        try:
            match_findings(names, ())
        except ValueError as error:
            raise UsageError(f"{place}: {error}.", "Keep one of them.") from error
    matched = match_findings(*findings)
    if not matched.shared:
        raise UsageError(
            f"{places[1]} labels none of the findings of {places[0]}: it has {few(findings[1])}, "
            f"and predicted are {few(findings[0])}.",
            "Give the labels of these findings.",
        )
    return matched


def findings_left_out(matched: MatchedFindings, labeled: str) -> list[str]:
    """Return which findings only one side has, a sentence each; labeled: what labels them."""
    texts = {
        "Not predicted": matched.only_second,
        f"Predicted, but not labeled in {labeled}": matched.only_first,
    }
    return [f"{text}: {', '.join(names)}." for text, names in texts.items() if names]


def refuse_shared_patients(one: ScoredImages, other: ScoredImages, names: tuple[str, str]) -> None:
    """Raise `UsageError` where a patient stands in two splits, which are named."""
    images = np.intersect1d(one.image_index, other.image_index)
    patients = np.intersect1d(one.predictions.patient_id, other.predictions.patient_id)
    if len(images):
        raise UsageError(
            f"{count_of(len(images), 'image is', 'images are')} in both {names[0]} and {names[1]}: "
            f"{few(images)}.",
            "Splits may share no image.",
        )
    if len(patients):
        raise UsageError(
            f"{count_of(len(patients), 'patient is', 'patients are')} in both {names[0]} and "
            f"{names[1]}: {few(patients)}.",
            "Split by patient: what is chosen on a patient may not be tested on the same.",
        )

"""Predictions and labels of the same images: only images in both files are scored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    labels_without_predictions: int
    findings_without_predictions: tuple[str, ...]


def pair(scores: Scores, labels: Labels, patients: NDArray[np.int64] | None = None) -> Paired:
    """Return the cases that both files have; labels without predictions are counted.

    patients: (M,), of the labels' images, where they were worked out already. Raises `UsageError`
    for images and findings that are predicted and have no labels.
    """
    rows = _rows(scores, labels)
    _refuse_unlabeled(scores, labels)
    order = np.argsort(rows)  # a file's order changes no metric
    rows, owners = rows[order], patients_of(labels)[0] if patients is None else patients
    return Paired(
        labels.scored(rows, scores.findings, scores.probabilities[order], owners),
        len(labels.images) - len(rows),
        tuple(name for name in labels.findings if name not in scores.findings),
    )


def _rows(scores: Scores, labels: Labels) -> NDArray[np.int64]:
    """Return where each prediction's image stands among the labels (N,)."""
    rows = match_images(scores.images.tolist(), labels.images.tolist(), scores.path)
    missing = [name for name, row in zip(scores.images, rows, strict=True) if row is None]
    if missing:
        raise UsageError(
            f"{len(missing):,} of {count_of(len(scores.images), 'image')} of {scores.path} "
            f"{'has' if len(missing) == 1 else 'have'} no label in "
            f"{labels.path}: {few(missing)}.",
            f"Add their labels, or take them out of {scores.path}.",
        )
    return np.array(rows, dtype=np.int64)


def _refuse_unlabeled(scores: Scores, labels: Labels) -> None:
    missing = [name for name in scores.findings if name not in labels.findings]
    if len(missing) == len(scores.findings):
        raise UsageError(
            f"{labels.path} labels none of the findings of {scores.path}: it has "
            f"{few(labels.findings)}, and predicted are {few(missing)}.",
            "Give the labels of these findings.",
        )
    if missing:
        raise UsageError(
            f"{labels.path} has no labels for {few(missing)}, which {scores.path} predicts.",
            "Add their labels, or take these columns out of the predictions.",
        )


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

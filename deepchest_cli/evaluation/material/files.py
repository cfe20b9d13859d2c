"""Predictions and labels from files: any model's, without the model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.matching import match_images
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.calibration import Method
from deepchest_cli.evaluation.cases import Cases
from deepchest_cli.evaluation.choices import Choices, choose
from deepchest_cli.evaluation.material.material import Material
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.overlap_text import ALLOW, comparison, counted, statement
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.reading.labels import Labels, patients_of, read_labels
from deepchest_cli.evaluation.reading.medmnist import claimed, is_medmnist, split_of
from deepchest_cli.evaluation.reading.pairing import Paired, pair, refuse_shared_patients
from deepchest_cli.evaluation.reading.scores import Scores, read_scores
from deepchest_cli.evaluation.score_checks import odd_scores

CLAIM = 0.0006  # how far a rounded figure in a file's name may be from the computed one


@dataclass(frozen=True)
class FileRequest:
    """Which files, and what they hold."""

    predictions: Path
    labels: Path
    part: str
    validation: Path | None = None
    logits: bool = False
    method: Method = "platt"
    allow_overlap: bool = False  # whether patients of the file's training rows are scored, too


def gather_files(request: FileRequest) -> Material:
    """Return the material of files; raises `UsageError` for whatever is wrong with them."""
    part = split_of(request.predictions) if is_medmnist(request.predictions) else request.part
    labels = read_labels(request.labels, part)
    scores = read_scores(request.predictions, request.logits, labels.findings)
    patients, note = patients_of(labels)
    mine = scores.of_split(part)
    if mine is None:
        raise UsageError(
            f"{request.predictions} has no images of the {part} part.", "Choose another --split."
        )
    found = pair(mine, labels, patients)
    cases = _named(found.cases, part, labels)
    overlap = _overlap(scores, labels, patients, cases, request)
    said = statement(overlap, len(cases), part)
    validation = _validation(scores, labels, patients, part, request)
    choices, reason = _choices(cases, validation, part, request)
    return Material(
        cases,
        {**_describe(request, part, labels, found), "overlap": overlap},
        choices,
        reason,
        _learned(labels, patients, cases, validation),
        (
            *filter(None, (note, "" if said else comparison(overlap))),
            *labels.notes,
            *scores.notes,
            *_left_over(found, request),
        ),
        (
            *filter(None, [said, *scores.warnings]),
            *odd_scores(cases.predictions),
            *_claims(request.predictions, cases.predictions),
        ),
        medmnist=request.labels.suffix == ".npz",
    )


def refuse_other_part(path: Path, part: str, flag: str) -> None:
    """Raise `UsageError` where the name of a file of MedMNIST's says that it is of another part."""
    if is_medmnist(path) and split_of(path) != part:
        raise UsageError(
            f"{flag}: {path} is of the {split_of(path)} part by its name, not of {part}.",
            "Name the file of that part.",
        )


def medmnist_names(images: NDArray[np.str_], part: str) -> NDArray[np.str_]:
    """Return names that tell MedMNIST's parts apart, which all count from 0."""
    return np.array([f"{part}-{name}" for name in images.tolist()], dtype=str)


def _named(cases: Cases, part: str, labels: Labels) -> Cases:
    """Return cases of MedMNIST's, whose parts all count from 0, under names of their own."""
    if labels.path.suffix != ".npz":
        return cases
    names = medmnist_names(cases.image_index, part)
    shift = {"test": 0, "validation": 10**9, "train": 2 * 10**9}[part]
    table = cases.predictions
    moved = replace(table, patient_id=table.patient_id + shift)
    return replace(cases, image_index=names, predictions=moved)


def _overlap(
    scores: Scores, labels: Labels, patients: Any, cases: Cases, request: FileRequest
) -> dict[str, Any]:
    """Return what the training rows of a file tell, refused unless allowed."""
    trained = None if scores.splits is None else scores.of_split("train")
    if trained is None or request.part == "train":
        return {**UNCHECKED, "own_data": trained is not None}
    places = match_images(trained.images.tolist(), labels.images.tolist(), request.predictions)
    rows = [place for place in places if place is not None]
    shared = np.isin(cases.predictions.patient_id, patients[rows])
    found = {**UNCHECKED, "patients": int(shared.sum())}
    if shared.any() and not request.allow_overlap:
        raise UsageError(
            f"{request.predictions}: of {count_of(len(cases), 'image')} to score, "
            f"{counted(found)}: rows that its split column calls train.",
            f"Split by patient. {ALLOW}",
        )
    return found


def _validation(
    scores: Scores, labels: Labels, patients: Any, part: str, request: FileRequest
) -> Cases | None:
    if part == "validation":
        if request.validation is not None:
            raise UsageError(
                "--validation: the validation split itself is scored.",
                "Leave --validation out, or score another --split.",
            )
        return None
    if request.validation is None:
        kept = None if scores.splits is None else scores.of_split("validation")
        found = None if kept is None else pair(kept, labels, patients).cases
    else:
        refuse_other_part(request.validation, "validation", "--validation")
        others = read_scores(request.validation, request.logits, labels.findings)
        if labels.path.suffix == ".npz":
            labels, patients = read_labels(labels.path, "validation"), None
        of_part = others.of_split("validation")
        if of_part is None:
            raise UsageError(
                f"{request.validation} has no images of the validation part.",
                "Mark them 'validation' in its split column, or leave the column out.",
            )
        found = _named(pair(of_part, labels, patients).cases, "validation", labels)
    return found


def _choices(
    cases: Cases, validation: Cases | None, part: str, request: FileRequest
) -> tuple[Choices | None, str]:
    if validation is None:
        if part == "validation":
            return None, "The scored part is the one that they would be chosen on."
        return None, (
            "There are no predictions for a validation part: give them with --validation FILE, or "
            f"mark them in a column 'split' of {request.predictions}."
        )
    source = request.validation or request.predictions
    names = (f"the validation part ({source})", f"the {part} part ({request.predictions})")
    refuse_shared_patients(validation, cases, names)
    missing = set(cases.predictions.findings) - set(validation.predictions.findings)
    if missing:
        raise UsageError(
            f"{source} has no scores for {', '.join(sorted(missing))} on validation.",
            "Predict the same findings on both parts.",
        )
    return choose(validation.predictions, request.method, str(source)), (
        f"Chosen on {len(validation):,} validation images of {source}."
    )


def _learned(labels: Labels, patients: Any, cases: Cases, validation: Cases | None) -> Cases | None:
    """Return labeled images of patients who are neither scored nor in validation."""
    if labels.patient_id is None or not np.isfinite(labels.age).any():
        return None
    taken = [part.predictions.patient_id for part in (cases, validation) if part is not None]
    rows = np.flatnonzero(~np.isin(patients, np.concatenate(taken)))
    if not len(rows):
        return None
    findings = cases.predictions.findings
    columns = [labels.findings.index(name) for name in findings]
    known = labels.labels[rows][:, columns], labels.known[rows][:, columns]
    table = Predictions(findings, np.zeros(known[0].shape), *known, patients[rows])
    return Cases(table, labels.images[rows], labels.age[rows], labels.sex[rows], labels.view[rows])


def _left_over(found: Paired, request: FileRequest) -> list[str]:
    notes = []
    without = found.labels_without_predictions
    if without:
        said = "has no prediction and is" if without == 1 else "have no prediction and are"
        notes.append(f"{count_of(without, 'image')} of {request.labels} {said} not scored.")
    if found.findings_without_predictions:
        notes.append(f"Not predicted: {', '.join(found.findings_without_predictions)}.")
    return notes


def _claims(path: Path, table: Predictions) -> tuple[str, ...]:
    """Return where a file's name says something else than its content."""
    found = {name: macro(per_finding(name, table)) for name in ("auroc", "accuracy")}
    return tuple(
        f"The name of {path} claims {name} {figure:.3f}; its scores give {found[name]:.3f}."
        for name, figure in claimed(path).items()
        if not abs(found[name] - figure) <= CLAIM
    )


def _describe(request: FileRequest, part: str, labels: Labels, found: Paired) -> dict[str, Any]:
    return {
        "model": None,
        "models": [],
        "predictions": str(request.predictions),
        "labels": str(request.labels),
        "data": None,
        "data_sha256": None,
        "split": part,
        "split_scheme": None,
        "label_version": labels.label_version,
        "source": None,
        "synthetic": None,
        "labels_without_predictions": found.labels_without_predictions,
    }

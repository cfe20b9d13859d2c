"""Evaluation of predictions and labels in files: any model's, without the model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.data.matching import match_images
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.evaluation_input import EvaluationInput, score_warnings
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.overlap import (
    ALLOW,
    UNCHECKED,
    no_overlap_note,
    overlap_warning,
    shared_images,
)
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.reading.labels import (
    Labels,
    patients_of,
    read_labels,
    with_studies,
)
from deepchest_cli.evaluation.reading.medmnist import claimed, is_medmnist, split_of
from deepchest_cli.evaluation.reading.pairing import (
    Paired,
    findings_left_out,
    pair,
    refuse_shared_patients,
)
from deepchest_cli.evaluation.reading.scores import Scores, read_scores
from deepchest_cli.evaluation.units import Grouping, Units
from deepchest_cli.evaluation.validation_fit import ValidationFit

CLAIM_TOLERANCE = 0.0006  # of a rounded metric in a file's name
TRAINING_WARNINGS = {  # codes of `deepchest predict`, by what `Overlap` calls these images
    "training_images": "in-training-set",
    "validation_images": "in-validation-set",
    "same_name_only": "name-in-training-set",
}
MEDMNIST_FIRST_PATIENTS = {"test": 0, "validation": 10**9, "train": 2 * 10**9}


def input_from_files(config: EvaluateConfig) -> EvaluationInput:
    """Return the predictions and labels of files for scoring.

    Raises `UsageError` for whatever is wrong with the files.
    """
    assert config.predictions is not None and config.labels is not None
    named = is_medmnist(config.predictions)
    split = split_of(config.predictions) if named else config.split
    grouping = Grouping.of_config(config)
    labels = read_labels(config.labels, split)
    scores = read_scores(config.predictions, config.logits, labels.findings)
    others = _validation_scores(config, split, labels)
    labels = with_studies(labels, (scores, others))
    grouping.view_weights.refuse_absent(labels.view.tolist())
    patients, note = patients_of(labels)
    selected = scores.of_split(split)
    if selected is None:
        raise UsageError(
            f"{config.predictions} has no images of the {split} split.", "Choose another --split."
        )
    found = pair(selected, labels, patients)
    scored = _with_medmnist_names(found.cases, split, labels)
    overlap = _overlap(scores, labels, patients, scored, config)
    overlapping = overlap_warning(overlap, len(scored), split)
    units = grouping.of(scored)
    rows = np.flatnonzero(np.isin(labels.images, found.cases.image_index))
    validation, unlabeled = _validation(scores, others, labels, patients, split)
    fit, reason = _validation_fit(units, validation, split, config)
    training = _baseline_training(labels, patients, found, validation)
    return EvaluationInput(
        scored=units.scored,
        units=units,
        description={**_description(config, split, labels, found), "overlap": overlap},
        validation_fit=fit,
        validation_fit_note=reason,
        baseline_training=training and units.alike(training),
        notes=(
            *units.notes,
            *filter(None, (note, "" if overlapping else no_overlap_note(overlap))),
            *labels.notes,
            *scores.notes,
            *_without_predictions(found, config),
            *findings_left_out(found.findings, str(config.labels)),
        ),
        warnings=(
            *filter(None, [overlapping, *scores.warnings]),
            *filter(None, [_unlabeled(found, selected, labels), unlabeled]),
            *filter(None, [grouping.partly_scored(labels.study, patients, rows)]),
            *units.warnings,
            *score_warnings(scored.predictions),
            *_claim_warnings(config.predictions, scored.predictions),
        ),
        medmnist=config.labels.suffix == ".npz",
    )


def refuse_other_split(path: Path, split: str, flag: str) -> None:
    """Raise `UsageError` where a file of MedMNIST's is of another split by its name."""
    if is_medmnist(path) and split_of(path) != split:
        raise UsageError(
            f"{flag}: {path} is of the {split_of(path)} split by its name, not of {split}.",
            "Name the file of that split.",
        )


def medmnist_names(images: NDArray[np.str_], split: str) -> NDArray[np.str_]:
    """Return names that distinguish the images of MedMNIST's splits, which all count from 0."""
    return np.array([f"{split}-{name}" for name in images.tolist()], dtype=str)


def _with_medmnist_names(scored: ScoredImages, split: str, labels: Labels) -> ScoredImages:
    """Return images of MedMNIST's with names and patients that no other split has."""
    if labels.path.suffix != ".npz":
        return scored
    table = scored.predictions
    moved = replace(table, patient_id=table.patient_id + MEDMNIST_FIRST_PATIENTS[split])
    names = medmnist_names(scored.image_index, split)
    return replace(scored, image_index=names, predictions=moved)


def _overlap(
    scores: Scores, labels: Labels, patients: Any, scored: ScoredImages, config: EvaluateConfig
) -> dict[str, Any]:
    """Return how many images are of training or show its patients, refused unless allowed.

    They are those of patients whose other rows are called train, and those that `deepchest predict`
    found in the model's own data.
    """
    trained = None if scores.splits is None else scores.of_split("train")
    if config.split == "train":
        return {**UNCHECKED, "is_training_data_set": trained is not None}
    found = {**UNCHECKED, **_warned_of(scores, config.split)}
    by = "as its column 'warnings' says"
    if trained is not None:
        places = match_images(trained.images.tolist(), labels.images.tolist(), scores.path)
        rows = [place for place in places if place is not None]
        shared = np.isin(scored.predictions.patient_id, patients[rows])
        found["shared_patients"] = int(shared.sum())
        by = "rows that its split column calls train"
    counted = shared_images(found)
    if counted and not config.allow_overlap:
        raise UsageError(
            f"{scores.path}: of {count_of(len(scored), 'image')} to score, {counted}: {by}.",
            f"Split by patient, and score images that the model was not made with. {ALLOW}",
        )
    return found


def _warned_of(scores: Scores, split: str) -> dict[str, int]:
    """Return how many images of a split `deepchest predict` found in the model's own data."""
    selected = scores.of_split(split) or scores
    counts = {name: selected.count_warned(code) for name, code in TRAINING_WARNINGS.items()}
    return {**counts, "validation_images": 0} if split == "validation" else counts


def _validation_scores(config: EvaluateConfig, split: str, labels: Labels) -> Scores | None:
    """Return the scores of `--validation`, None without it."""
    if config.validation is None:
        return None
    if split == "validation":
        raise UsageError(
            "--validation: the validation split itself is scored.",
            "Leave --validation out, or score another --split.",
        )
    refuse_other_split(config.validation, "validation", "--validation")
    return read_scores(config.validation, config.logits, labels.findings)


def _validation(
    scores: Scores, others: Scores | None, labels: Labels, patients: Any, split: str
) -> tuple[ScoredImages | None, str]:
    """Return the validation images of the file or of `--validation`, None without any.

    Also a warning where some have no label; empty where all have one.
    """
    if others is None:
        named = split not in ("validation", "all") and scores.splits is not None
        kept = scores.of_split("validation") if named else None
        if kept is None:
            return None, ""
        found = pair(kept, labels, patients)
        return found.cases, _unlabeled(found, kept, labels)
    if labels.path.suffix == ".npz":
        labels, patients = with_studies(read_labels(labels.path, "validation"), [others]), None
    selected = others.of_split("validation")
    if selected is None:
        raise UsageError(
            f"{others.path} has no images of the validation split.",
            "Mark them 'validation' in its split column, or leave the column out.",
        )
    found = pair(selected, labels, patients)
    cases = _with_medmnist_names(found.cases, "validation", labels)
    return cases, _unlabeled(found, selected, labels)


def _validation_fit(
    units: Units, validation: ScoredImages | None, split: str, config: EvaluateConfig
) -> tuple[ValidationFit | None, str]:
    """Return what validation images choose, in units like the scored ones, and where it is from."""
    if validation is None:
        if split == "validation":
            return None, "The scored split is the one that they would be chosen on."
        return None, (
            "There are no predictions for a validation split: give them with --validation FILE, or "
            f"mark them in a column 'split' of {config.predictions}."
        )
    source = config.validation or config.predictions
    names = (f"the validation split ({source})", f"the {split} split ({config.predictions})")
    refuse_shared_patients(validation, units.images, names)
    missing = set(units.images.predictions.findings) - set(validation.predictions.findings)
    if missing:
        raise UsageError(
            f"{source} has no scores for {', '.join(sorted(missing))} on validation.",
            "Predict the same findings on both splits.",
        )
    chosen = units.grouping.of(validation)
    return chosen.fit(config.calibration, str(source)), (
        f"Chosen on {chosen.counted('validation')} of {source}."
    )


def _baseline_training(
    labels: Labels, patients: Any, found: Paired, validation: ScoredImages | None
) -> ScoredImages | None:
    """Return labeled images of patients who are neither scored nor in validation."""
    scored = found.cases
    if labels.patient_id is None or not np.isfinite(labels.age).any():
        return None
    taken = [one.predictions.patient_id for one in (scored, validation) if one is not None]
    rows = np.flatnonzero(~np.isin(patients, np.concatenate(taken)))
    if not len(rows):
        return None
    findings = dict(found.findings.shared)
    return labels.scored(rows, findings, np.zeros((len(rows), len(findings))), patients)


def _without_predictions(found: Paired, config: EvaluateConfig) -> list[str]:
    without = found.labels_without_predictions
    verb = "has no prediction and is" if without == 1 else "have no prediction and are"
    said = f"{count_of(without, 'image')} of {config.labels} {verb} not scored."
    return [said] if without else []


def _unlabeled(found: Paired, scores: Scores, labels: Labels) -> str:
    """Return how many predictions have no label and are not scored; empty where all have one."""
    images = found.predictions_without_labels
    if not images:
        return ""
    verb = "has no label" if len(images) == 1 else "have no label"
    return (
        f"{len(images):,} of {count_of(len(scores.images), 'image')} of {scores.path} {verb} in "
        f"{labels.path} and {'is' if len(images) == 1 else 'are'} not scored: {few(images)}."
    )


def _claim_warnings(path: Path, table: Predictions) -> tuple[str, ...]:
    """Return where a file's name claims another metric than its scores give."""
    found = {name: macro(per_finding(name, table)) for name in ("auroc", "accuracy")}
    return tuple(
        f"The name of {path} claims {name} {value:.3f}; its scores give {found[name]:.3f}."
        for name, value in claimed(path).items()
        if not abs(found[name] - value) <= CLAIM_TOLERANCE
    )


def _description(
    config: EvaluateConfig, split: str, labels: Labels, found: Paired
) -> dict[str, Any]:
    return {
        "model": None,
        "models": [],
        "predictions": str(config.predictions),
        "labels": str(config.labels),
        "data": None,
        "data_sha256": None,
        "split": split,
        "split_scheme": None,
        "label_version": labels.label_version,
        "source": None,
        "synthetic": None,
        "labels_without_predictions": found.labels_without_predictions,
        "predictions_without_labels": len(found.predictions_without_labels),
        "findings_not_predicted": list(found.findings.only_second),
        "findings_not_labeled": list(found.findings.only_first),
    }

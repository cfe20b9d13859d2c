"""Labeled images of a site with a model's raw probabilities: from shards, or from files.

Findings are matched by the table of aliases and called as the model calls them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import RecalibrateConfig
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.findings import match_findings
from deepchest_cli.data.matching import image_key
from deepchest_cli.data.source_relations import is_synthetic
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import (
    aspect_difference,
    differences,
    refuse_other_size,
)
from deepchest_cli.evaluation.overlap import (
    find_overlap,
    no_overlap_note,
    overlap_warning,
    refuse_overlap,
)
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.evaluation.reading.labels import (
    Labels,
    nih_patients,
    patients_of,
    read_labels,
)
from deepchest_cli.evaluation.reading.pairing import pair, refuse_shared_patients
from deepchest_cli.evaluation.reading.scores import Scores, read_scores
from deepchest_cli.evaluation.validation_fit import ValidationFit
from deepchest_cli.files import sha256_of
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.model.logistic import sigmoid
from deepchest_cli.model.reference import TrainingImages, name_hash, patient_hash, short_hashes
from deepchest_cli.model.site import ALL, splits_of

Progress = Callable[[int, int], None]
Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # images (B, S, S) to logits (B, T)
TEST = "test"
ALLOW = "With --allow-overlap they choose all the same."
SEEN = ("in-training-set", "in-validation-set")  # warnings of `deepchest predict`
UNCHECKED = (
    "Whether the model was trained on these images could not be checked: it keeps no hashes of "
    "its training images."
)


@dataclass(frozen=True)
class SiteModel:
    """The model whose thresholds and calibration are chosen anew: a checkpoint or an ONNX file."""

    path: Path
    findings: tuple[str, ...]
    stored_size: int  # pixels
    pad: bool  # whether images keep their aspect
    batch_size: int
    network: Network
    fit: ValidationFit | None  # that it keeps
    training_images: Sequence[TrainingImages] | None  # of each data set of training
    loaded: LoadedModel | None  # None: an ONNX file, which does not say what it was trained on


@dataclass(frozen=True)
class SiteImages:
    """What a site gives: the images that choose, and others, if there are any, to judge by."""

    data: str  # folder or file
    sha256: str
    split: str
    chosen_on: Predictions
    judged_on: Predictions | None
    judged_split: str
    not_predicted: tuple[str, ...]  # findings that the site labels and the model does not predict
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def site_images(config: RecalibrateConfig, model: SiteModel, progress: Progress) -> SiteImages:
    """Return the images of the data or the files that a configuration names.

    Raises `UsageError` for data that do not fit the model, and for images that it was trained on.
    """
    if config.data is not None:
        return _from_shards(config, config.data, model, progress)
    assert config.predictions is not None and config.labels is not None
    return _from_files(config, config.predictions, config.labels, model)


def _from_shards(
    config: RecalibrateConfig, folder: Path, model: SiteModel, progress: Progress
) -> SiteImages:
    dataset = open_dataset(folder)
    refuse_other_size(model.stored_size, dataset)
    named = _matched(model, dataset.findings, str(folder))
    rows: dict[str, NDArray[np.int64]] = {config.split: _rows(dataset, splits_of(config.split))}
    if not len(rows[config.split]):
        raise UsageError(f"{folder} has no {config.split} split.", "Choose another --split.")
    if config.split != ALL and len(dataset.rows(TEST)):
        rows[TEST] = dataset.rows(TEST)
    notes, warnings = [], []
    for split, some in rows.items():
        said, warned = _relation(model, dataset, some, split, config.allow_overlap)
        notes += said
        warnings += warned
    tables = {
        split: _predicted(model, dataset, some, named, progress) for split, some in rows.items()
    }
    return SiteImages(
        data=str(folder),
        sha256=dataset.sha256,
        split=config.split,
        chosen_on=tables[config.split],
        judged_on=tables.get(TEST),
        judged_split=TEST if TEST in tables else config.split,
        not_predicted=_not_predicted(named, dataset.findings),
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _rows(dataset: RadiographDataset, splits: Sequence[str]) -> NDArray[np.int64]:
    return np.sort(np.concatenate([dataset.rows(split) for split in splits]))


def _matched(model: SiteModel, labeled: Sequence[str], where: str) -> dict[str, str]:
    """Return what a site calls the model's findings; findings that it does not label are absent."""
    try:
        named = dict(match_findings(model.findings, labeled).shared)
    except ValueError as error:
        raise UsageError(f"{where}: {error}.", "Keep one of the two.") from error
    if not named:
        raise UsageError(
            f"{where} labels none of the model's findings: it has {few(labeled)}, and {model.path} "
            f"predicts {few(model.findings)}.",
            "Give labels of findings that the model predicts.",
        )
    return named


def _not_predicted(named: dict[str, str], labeled: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in labeled if name not in named.values())


def _relation(
    model: SiteModel,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    split: str,
    allow_overlap: bool,
) -> tuple[list[str], list[str]]:
    """Return notes and warnings on how images relate to those of training; refuse the same ones."""
    if model.loaded is None:
        hashes = short_hashes(dataset.pixel_hash[rows])
        settings = {"aspect": "pad" if model.pad else "squash"}
        warnings = [
            aspect_difference(settings, dataset.manifest["settings"]),
            _refuse_training_images(model, hashes, str(dataset.folder), allow_overlap),
        ]
        return [], [text for text in warnings if text]
    overlap = find_overlap(model.loaded, dataset, rows, split)
    if not allow_overlap:
        if overlap.is_training_data_set:
            raise UsageError(
                f"{dataset.folder} is what {model.path} was trained on, and no other site.",
                "deepchest evaluate chooses the model's own operating points on its validation "
                f"split. {ALLOW}",
            )
        refuse_overlap(overlap, model.loaded, dataset)
    counts = overlap.to_plain()
    warning = overlap_warning(counts, len(rows), split)
    synthetic = is_synthetic(dataset.manifest["source"])
    return (
        [note] if not warning and (note := no_overlap_note(counts)) else [],
        [*filter(None, [warning]), *differences(model.loaded, dataset, rows, synthetic)],
    )


def _refuse_named_images(model: SiteModel, names: list[str], where: str, allow: bool) -> str:
    """Return a warning about images with the names of training images, or NIH's of its patients."""
    if model.training_images is None:
        return UNCHECKED
    hashes = np.array([name_hash(f"{image_key(name)}.png") for name in names], dtype=np.int64)
    numbers = nih_patients(names)
    patients = np.array([patient_hash(number) for number in numbers or ()], dtype=np.int64)
    for images in model.training_images:
        if not images.names_differ:
            continue
        if numbers is not None and images.patients is not None:  # those of validation, too
            shared, what = int(np.isin(patients, images.patients).sum()), "patients"
        else:
            shared, what = int(np.isin(hashes, images.names).sum()), "names"
        if said := _refused(shared, what, model, where, allow):
            return said
    return ""


def _refuse_warned(scores: Scores, allow: bool) -> None:
    """Raise `UsageError` for images that `deepchest predict` found in the model's own data."""
    warned = sum(map(scores.count_warned, SEEN))
    if warned and not allow:
        verb = "is" if warned == 1 else "are"
        raise UsageError(
            f"{scores.path}: {count_of(warned, 'image')} {verb} in the model's own data, as its "
            "column 'warnings' says.",
            f"Give images that the model has not seen. {ALLOW}",
        )


def _refuse_training_images(
    model: SiteModel, hashes: NDArray[np.int64], where: str, allow: bool
) -> str:
    """Return a warning about images with the pixels of training or validation images."""
    if model.training_images is None:
        return UNCHECKED
    known = np.concatenate(
        [hashes for one in model.training_images for hashes in (one.training, one.validation)]
    )
    return _refused(int(np.isin(hashes, known).sum()), "pixels", model, where, allow)


def _refused(shared: int, what: str, model: SiteModel, where: str, allow: bool) -> str:
    """Raise `UsageError` for images that a model was made with, or return a warning about them."""
    if not shared:
        return ""
    said = (
        f"{count_of(shared, 'image')} of {where} {'has' if shared == 1 else 'have'} the {what} of "
        f"images that {model.path} was made with"
    )
    if not allow:
        raise UsageError(f"{said}.", f"Give images that the model has not seen. {ALLOW}")
    return f"{said}: the results are optimistic."


def _predicted(
    model: SiteModel,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    named: dict[str, str],
    progress: Progress,
) -> Predictions:
    """Return raw probabilities and labels of rows for the findings of both."""
    logits = []
    for start in range(0, len(rows), model.batch_size):
        logits.append(model.network(dataset.gather(rows[start : start + model.batch_size])))
        progress(min(start + model.batch_size, len(rows)), len(rows))
    ours = [model.findings.index(name) for name in named]
    theirs = [dataset.findings.index(name) for name in named.values()]
    return Predictions(
        tuple(named),
        sigmoid(np.concatenate(logits))[:, ours],
        dataset.labels[rows][:, theirs],
        dataset.known[rows][:, theirs],
        dataset.columns["patient_id"][rows],
    )


def _from_files(
    config: RecalibrateConfig, predictions: Path, labels_file: Path, model: SiteModel
) -> SiteImages:
    labels = read_labels(labels_file)
    scores = read_scores(predictions, config.logits, labels.findings)
    named, raw = _raw_scores(scores, labels, model, _are_calibrated(scores, config))
    patients, note = patients_of(labels)
    split = config.split if raw.splits is not None else ALL
    parts: dict[str, Scores] = {split: raw}
    if raw.splits is not None:
        parts = {
            name: replace(raw, images=raw.images[rows], probabilities=raw.probabilities[rows])
            for name in ((split,) if split == ALL else (split, TEST))
            if (rows := np.isin(raw.splits, splits_of(name))).any()
        }
    if split not in parts:
        raise UsageError(
            f"{predictions} has no images of the {split} split.", "Choose another --split."
        )
    paired = {name: pair(part, labels, patients) for name, part in parts.items()}
    cases = {name: one.cases for name, one in paired.items()}
    unlabeled = [image for one in paired.values() for image in one.predictions_without_labels]
    if TEST in cases:
        names = (f"the {split} split", f"the {TEST} split ({predictions})")
        refuse_shared_patients(cases[split], cases[TEST], names)
    images = np.concatenate([part.image_index for part in cases.values()]).tolist()
    warning = _refuse_named_images(model, images, str(labels_file), config.allow_overlap)
    _refuse_warned(scores, config.allow_overlap)
    tables = {
        name: replace(part.predictions, findings=tuple(named)) for name, part in cases.items()
    }
    return SiteImages(
        data=str(labels_file),
        sha256=sha256_of(labels_file),
        split=split,
        chosen_on=tables[split],
        judged_on=tables.get(TEST),
        judged_split=TEST if TEST in tables else split,
        not_predicted=_not_predicted(named, labels.findings),
        notes=(*filter(None, [note]), *labels.notes, *scores.notes, _kind(scores, config)),
        warnings=(*filter(None, [warning, _unlabeled(unlabeled, labels)]), *scores.warnings),
    )


def _unlabeled(images: list[str], labels: Labels) -> str:
    """Return how many predictions have no label; empty where all have one."""
    without = count_of(len(images), "prediction has", "predictions have")
    return f"{without} no label in {labels.path}: {few(images)}." if images else ""


def _kind(scores: Scores, config: RecalibrateConfig) -> str:
    """Return how the scores of a file are taken."""
    if _are_calibrated(scores, config):
        return f"{scores.path}: the calibration that the model keeps is undone."
    return f"{scores.path}: the probabilities are taken as they are, for raw ones."


def _are_calibrated(scores: Scores, config: RecalibrateConfig) -> bool:
    by_columns = config.probabilities == "auto" and scores.from_predict
    return by_columns or config.probabilities == "calibrated"


def _raw_scores(
    scores: Scores, labels: Labels, model: SiteModel, calibrated: bool
) -> tuple[dict[str, str], Scores]:
    """Return the labels' names of the findings that all have, and the scores before calibration.

    Calibration is affine in the logits, so that undoing it is exact but for rounding.
    """
    where = f"{scores.path}"
    columns = _matched(model, scores.findings, where)
    named = {
        ours: name
        for ours, name in _matched(model, labels.findings, str(labels.path)).items()
        if ours in columns
    }
    if not named:
        raise UsageError(
            f"{where} and {labels.path} share none of the findings of {model.path}.",
            "Give predictions and labels of the same findings.",
        )
    if calibrated and scores.models and scores.models != {sha256_of(model.path)}:
        raise UsageError(
            f"{where} was written by another model than {model.path}, or before it was given the "
            "calibration that it now keeps.",
            f"Predict again: deepchest predict IMAGE... --model {quote(str(model.path))} --format "
            "csv",
        )
    scalings = model.fit.scalings if calibrated and model.fit is not None else {}
    found = []
    for ours in named:
        column = scores.probabilities[:, scores.findings.index(columns[ours])]
        scaling = scalings.get(ours)
        found.append(column if scaling is None else scaling.undone(column))
    return named, replace(scores, findings=tuple(named.values()), probabilities=np.stack(found, 1))

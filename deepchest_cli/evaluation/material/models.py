"""Checkpoints on shards: predictions of one model or the mean of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.calibration import Method
from deepchest_cli.evaluation.cases import cases_of
from deepchest_cli.evaluation.choices import Choices, choose
from deepchest_cli.evaluation.compatibility import is_own
from deepchest_cli.evaluation.differences import differences
from deepchest_cli.evaluation.material.fitness import (
    are_synthetic,
    not_predicted,
    refuse_other_findings,
    refuse_other_sizes,
    refuse_twice,
)
from deepchest_cli.evaluation.material.material import Material
from deepchest_cli.evaluation.overlap import find_overlap, joined, refuse_overlap
from deepchest_cli.evaluation.overlap_text import comparison, statement
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.evaluation.score_checks import odd_scores
from deepchest_cli.model.checkpoint import LoadedModel, load_model, store_choices

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What is to be scored and how."""

    models: Sequence[Path]
    data: Path
    part: str
    device: torch.device
    batch_size: int
    method: Method = "platt"
    store: bool = True  # whether choices may be written into the checkpoint
    allow_overlap: bool = False  # whether images that a model was made with are scored, too


def gather_models(request: Request, progress: Progress) -> Material:
    """Return the material of one model, or of the mean of several models' probabilities.

    Raises `UsageError` for data that do not fit a model: another size, other findings, images or
    patients that it was made with, and for models of different findings.
    """
    models = [load_model(path, request.device) for path in request.models]
    dataset = _open_data(request.data, models[0])
    refuse_twice(models)
    refuse_other_findings(models)
    refuse_other_sizes(models, dataset)
    rows = dataset.rows(request.part)
    if not len(rows):
        raise UsageError(f"{request.data} has no {request.part} part.", "Choose another --split.")
    overlap = _overlap(models, dataset, rows, request)
    said = statement(overlap, len(rows), request.part)
    synthetic = are_synthetic(models, dataset, overlap)
    differing = [w for m in models for w in differences(m, dataset, rows, synthetic)]
    warnings = [*filter(None, [said]), *differing]
    clean = "" if said else comparison(overlap)
    mean = _Mean(models, ImageReader(dataset, request.device), request.batch_size, progress)
    predictions = mean.of(rows)
    models, choices, note, warned = _choices(models, dataset, request, mean)
    return Material(
        cases_of(dataset, rows, predictions),
        {**describe(models, dataset, request), "synthetic": synthetic, "overlap": overlap},
        choices,
        note,
        _learned(dataset, predictions),
        notes=(*filter(None, [clean, not_predicted(dataset, predictions)]),),
        warnings=(*dict.fromkeys(warnings), *odd_scores(predictions), *warned),
        dataset=dataset,
        rows=rows,
        models=tuple(models),
    )


def _open_data(data: Path, model: LoadedModel) -> RadiographDataset:
    try:
        return open_dataset(data)
    except UsageError as error:
        known = model.origin.get("config", {}).get("data")
        if known in (None, str(data)):
            raise
        hint = f"{error.hint}\nThe model was trained on {known}: --data {quote(known)}"
        raise UsageError(error.message, hint) from error


def _overlap(
    models: list[LoadedModel],
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    request: Request,
) -> dict[str, Any]:
    """Return how many of `rows` any of the models was made with, refused unless allowed."""
    found = [find_overlap(model, dataset, rows, request.part) for model in models]
    for one, model in zip(found, models, strict=True):
        if not request.allow_overlap:
            refuse_overlap(one, model, dataset)
    return joined(found).to_plain()


@dataclass(frozen=True)
class _Mean:
    """The mean probability of models over some rows; one model's own where it is alone."""

    models: list[LoadedModel]
    reader: ImageReader
    batch_size: int
    progress: Progress

    def of(self, rows: NDArray[np.int64]) -> Predictions:
        tables = [
            predict_rows(m.classifier, self.reader, rows, self.batch_size, self.progress)
            for m in self.models
        ]
        first = tables[0]
        columns = [[table.findings.index(name) for name in first.findings] for table in tables]
        probabilities = [t.probabilities[:, c] for t, c in zip(tables, columns, strict=True)]
        return replace(first, probabilities=np.mean(probabilities, axis=0))


def _choices(
    models: list[LoadedModel], dataset: RadiographDataset, request: Request, mean: _Mean
) -> tuple[list[LoadedModel], Choices | None, str, tuple[str, ...]]:
    """Return what validation chose: as the checkpoint has it, or chosen now and stored there.

    It is chosen where the checkpoint has nothing by this method, on the validation part of the
    data that the models were trained on; it is stored where there is one model.
    """
    own = all(is_own(model.origin, dataset) for model in models)
    if own and request.part == "validation":
        return models, None, "The scored part is the one that they would be chosen on.", ()
    alone = len(models) == 1
    kept = _kept(models[0])
    if alone and kept is not None and kept.method == request.method:
        return models, kept, f"Chosen on validation and kept in {models[0].path}.", ()
    rows = dataset.rows("validation")
    if not own or not len(rows):
        reason = "has no validation part" if own else "is not what the model was trained on"
        if alone and kept is not None:  # by the other method of calibration
            note = (
                f"Chosen on validation and kept in {models[0].path}, with {kept.method} scaling: "
            )
            return models, kept, f"{note}{request.data} {reason}.", ()
        keeper = "the checkpoint keeps none" if alone else "of several models none is kept"
        return models, None, f"{request.data} {reason}, and {keeper}.", ()
    choices = choose(mean.of(rows), request.method, dataset.sha256)
    if not alone or not request.store:
        return models, choices, "Chosen on validation; not stored.", ()
    return _stored(models[0], choices)


def _kept(model: LoadedModel) -> Choices | None:
    """Return the choices in a checkpoint; None without any that this version understands."""
    try:
        if model.choices is None:
            return None
        choices = Choices.from_plain(model.choices)
        if not choices.covers(tuple(model.identity["findings"])):
            return None
        if choices.source != model.origin["data_sha256"]:  # of another model: a copied part
            return None
    except (KeyError, TypeError, AttributeError, ValueError):
        return None
    return choices


def _stored(
    model: LoadedModel, choices: Choices
) -> tuple[list[LoadedModel], Choices, str, tuple[str, ...]]:
    try:
        stored = store_choices(model, choices.to_plain())
    except OSError as error:
        warning = f"Thresholds and calibration could not be stored in {model.path}: {error}."
        return [model], choices, "Chosen on validation; not stored.", (warning,)
    if stored is None:
        warning = f"{model.path} was written anew meanwhile: nothing was stored in it."
        return [model], choices, "Chosen on validation; not stored.", (warning,)
    return [stored], choices, f"Chosen on validation, now stored in {model.path}.", ()


def _learned(dataset: RadiographDataset, predictions: Predictions) -> Any:
    """Return the training part with the findings of the predictions; None without one."""
    rows = dataset.rows("train")
    if not len(rows):
        return None
    columns = [dataset.findings.index(name) for name in predictions.findings]
    labels = dataset.labels[rows][:, columns]
    known, patients = dataset.known[rows][:, columns], dataset.columns["patient_id"][rows]
    table = Predictions(predictions.findings, np.zeros(labels.shape), labels, known, patients)
    return cases_of(dataset, rows, table)


def describe(
    models: list[LoadedModel], dataset: RadiographDataset, request: Request
) -> dict[str, Any]:
    """Return where the predictions come from."""
    source, settings = dataset.manifest["source"], dataset.manifest["settings"]
    return {
        "model": models[0].identity if len(models) == 1 else None,
        "models": [model.identity for model in models],
        "predictions": None,
        "labels": None,
        "data": str(request.data),
        "data_sha256": dataset.sha256,
        "split": request.part,
        "split_scheme": settings["split_scheme"],
        "label_version": source["label_version"],
        "source": source["kind"],
        "labels_without_predictions": 0,
    }

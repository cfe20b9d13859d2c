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
from deepchest_cli.evaluation.compatibility import refuse_unfit_data
from deepchest_cli.evaluation.material.material import Material
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
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


def gather_models(request: Request, progress: Progress) -> Material:
    """Return the material of one model, or of the mean of several models' probabilities.

    Raises `UsageError` for data that do not fit a model: another size, other findings, trained
    patients, and for models of different findings.
    """
    models = [load_model(path, request.device) for path in request.models]
    dataset = _open_data(request.data, models[0])
    _refuse_other_findings(models)
    warnings = tuple(w for model in models for w in _fit_for(model, dataset, request))
    rows = dataset.rows(request.part)
    if not len(rows):
        raise UsageError(f"{request.data} has no {request.part} part.", "Choose another --split.")
    mean = _Mean(models, ImageReader(dataset, request.device), request.batch_size, progress)
    predictions = mean.of(rows)
    models, choices, note, warned = _choices(models, dataset, request, mean)
    return Material(
        cases_of(dataset, rows, predictions),
        describe(models, dataset, request),
        choices,
        note,
        _learnt(dataset, predictions),
        warnings=(*dict.fromkeys(warnings), *warned),
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


def _fit_for(model: LoadedModel, dataset: RadiographDataset, request: Request) -> list[str]:
    """Refuse data that do not fit a model; return what is odd about the two."""
    stored, expected = dataset.size, model.classifier.architecture.stored_size
    if stored != expected:
        raise UsageError(
            f"{request.data} holds images of {stored} px; the model was trained on {expected} px.",
            f"Prepare the data at that size: deepchest prepare --size {expected} --data FOLDER",
        )
    refuse_unfit_data(model.origin, dataset, request.part)
    return _differences(model.identity, dataset.manifest["source"])


def _refuse_other_findings(models: list[LoadedModel]) -> None:
    for model in models[1:]:
        if set(model.identity["findings"]) != set(models[0].identity["findings"]):
            raise UsageError(
                f"{model.path} predicts other findings than {models[0].path}.",
                "The models of an ensemble need the same findings.",
            )


def _differences(model: dict[str, Any], source: dict[str, Any]) -> list[str]:
    found = []
    if model["label_version"] != source["label_version"]:
        found.append("The model was trained on another version of the labels.")
    if model["synthetic"] != source["synthetic"]:
        ours, theirs = ("synthetic", "real") if model["synthetic"] else ("real", "synthetic")
        found.append(f"The model was trained on {ours} radiographs; these are {theirs}.")
    return found


def _choices(
    models: list[LoadedModel], dataset: RadiographDataset, request: Request, mean: _Mean
) -> tuple[list[LoadedModel], Choices | None, str, tuple[str, ...]]:
    """Return what validation chose: as the checkpoint has it, or chosen now and stored there.

    It is chosen where the checkpoint has nothing by this method, on the validation part of the
    data that the models were trained on; it is stored where there is one model.
    """
    if request.part == "validation":
        return models, None, "The scored part is the one that they would be chosen on.", ()
    alone = len(models) == 1
    kept = _kept(models[0])
    if alone and kept is not None and kept.method == request.method:
        return models, kept, f"Chosen on validation and kept in {models[0].path}.", ()
    rows = dataset.rows("validation")
    own = all(model.origin["data_sha256"] == dataset.sha256 for model in models)
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


def _learnt(dataset: RadiographDataset, predictions: Predictions) -> Any:
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
        "synthetic": source["synthetic"],
        "labels_without_predictions": 0,
    }

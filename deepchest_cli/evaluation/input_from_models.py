"""Evaluation of checkpoints on shards: predictions of one model or the mean of several."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import (
    differences,
    is_synthetic,
    is_training_data_set,
    refuse_other_size,
)
from deepchest_cli.evaluation.evaluation_input import EvaluationInput, score_warnings
from deepchest_cli.evaluation.overlap import (
    find_overlap,
    no_overlap_note,
    overlap_warning,
    refuse_overlap,
    union_of,
)
from deepchest_cli.evaluation.predictions import (
    Predictions,
    ScoredImages,
    predict_rows,
    scored_images,
)
from deepchest_cli.evaluation.validation_fit import (
    ValidationFit,
    fit_on_validation,
    readable_fit,
)
from deepchest_cli.model.checkpoint import LoadedModel, load_model, store_validation_fit
from deepchest_cli.model.site import splits_of

Progress = Callable[[int, int], None]
NOT_STORED = "Chosen on validation; not stored."


@dataclass(frozen=True)
class _Fit:
    """The validation fit, the models with it, and what to tell the user."""

    models: list[LoadedModel]
    fit: ValidationFit | None
    note: str
    warnings: tuple[str, ...] = ()


def input_from_models(
    config: EvaluateConfig, device: torch.device, progress: Progress
) -> EvaluationInput:
    """Return the predictions of one model, or the mean probabilities of several, for scoring.

    Raises `UsageError` for data that do not fit a model: another size, other findings, images or
    patients that it was made with, and for models of different findings.
    """
    models = [load_model(Path(path), device) for path in config.model]
    dataset = _open_data(config.data, models[0])
    refuse_duplicate_models(models)
    refuse_other_findings(models)
    refuse_other_sizes(models, dataset)
    rows = dataset.rows(config.split)
    if not len(rows):
        raise UsageError(f"{config.data} has no {config.split} split.", "Choose another --split.")
    overlap = _overlap(models, dataset, rows, config)
    overlapping = overlap_warning(overlap, len(rows), config.split)
    synthetic = _are_synthetic(models, dataset, overlap)
    warnings = [text for model in models for text in differences(model, dataset, rows, synthetic)]
    reader = ImageReader(dataset, device)
    predict = partial(_mean_prediction, models, reader, config.batch_size, progress)
    predictions = predict(rows)
    fitted = _validation_fit(models, dataset, config, predict)
    missing = [name for name in dataset.findings if name not in predictions.findings]
    notes = (
        "" if overlapping else no_overlap_note(overlap),
        f"Not predicted: {', '.join(missing)}." if missing else "",
    )
    return EvaluationInput(
        scored=scored_images(dataset, rows, predictions),
        description={
            **_description(fitted.models, dataset, config),
            "synthetic": synthetic,
            "overlap": overlap,
        },
        validation_fit=fitted.fit,
        validation_fit_note=fitted.note,
        baseline_training=_baseline_training(dataset, predictions.findings),
        notes=tuple(filter(None, notes)),
        warnings=(
            *filter(None, [overlapping]),
            *dict.fromkeys(warnings),
            *score_warnings(predictions),
            *fitted.warnings,
        ),
        dataset=dataset,
        rows=rows,
        models=tuple(fitted.models),
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


def refuse_duplicate_models(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where an ensemble names a model twice, which would count double."""
    hashes = [model.sha256 for model in models]
    for place, one in enumerate(hashes):
        if one in hashes[:place]:
            first = models[hashes.index(one)].path
            raise UsageError(
                f"{models[place].path} is the same model as {first}.",
                "Name each model of an ensemble once.",
            )


def refuse_other_findings(models: list[LoadedModel]) -> None:
    """Raise `UsageError` where the models of an ensemble predict different findings."""
    for model in models[1:]:
        if set(model.identity["findings"]) != set(models[0].identity["findings"]):
            raise UsageError(
                f"{model.path} predicts other findings than {models[0].path}.",
                "The models of an ensemble need the same findings.",
            )


def refuse_other_sizes(models: list[LoadedModel], dataset: RadiographDataset) -> None:
    """Raise `UsageError` where a model was trained on images stored at another size."""
    for model in models:
        refuse_other_size(model.classifier.architecture.stored_size, dataset)


def _overlap(
    models: list[LoadedModel],
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return how many of `rows` any of the models was made with, refused unless allowed."""
    overlaps = [find_overlap(model, dataset, rows, config.split) for model in models]
    for one, model in zip(overlaps, models, strict=True):
        if not config.allow_overlap:
            refuse_overlap(one, model, dataset)
    return union_of(overlaps).to_plain()


def _are_synthetic(
    models: list[LoadedModel], dataset: RadiographDataset, overlap: dict[str, Any]
) -> bool | None:
    """Whether the radiographs are synthetic: by the data, or by the training images among them."""
    shared = overlap["training_images"] + overlap["validation_images"] > 0
    if shared and any(is_synthetic(model.origin["source"]) for model in models):
        return True
    return is_synthetic(dataset.manifest["source"])


def _mean_prediction(
    models: list[LoadedModel],
    reader: ImageReader,
    batch_size: int,
    progress: Progress,
    rows: NDArray[np.int64],
) -> Predictions:
    """Return the mean probabilities of models for some rows; one model's own where it is alone."""
    tables = [predict_rows(m.classifier, reader, rows, batch_size, progress) for m in models]
    first = tables[0]
    probabilities = [table.of_findings(first.findings).probabilities for table in tables]
    return replace(first, probabilities=np.mean(probabilities, axis=0))


def _validation_fit(
    models: list[LoadedModel],
    dataset: RadiographDataset,
    config: EvaluateConfig,
    predict: Callable[[NDArray[np.int64]], Predictions],
) -> _Fit:
    """Return thresholds and calibration as the checkpoint has them, or fitted now.

    They are fitted where the checkpoint has none by this method, on the validation split of the
    data that the models were trained on, and stored where there is one model.
    """
    own = all(is_training_data_set(model.origin, dataset) for model in models)
    alone = len(models) == 1
    kept = _kept_fit(models[0]) if alone else None
    if _chose(kept, own, dataset, config.split):
        return _Fit(models, None, "The scored split is the one that they would be chosen on.")
    rows = dataset.rows("validation")
    reason = "" if own else f"{config.data} is not what the model was trained on"
    if own and not len(rows):
        reason = f"{config.data} has no validation split"
    if kept is not None and (kept.method == config.calibration or kept.site or reason):
        note = f"Chosen on {kept.images_named} and kept in {models[0].path}"
        if kept.method != config.calibration:
            note += f", with {kept.method} scaling" + (f": {reason}" if reason else "")
        return _Fit(models, kept, f"{note}.")
    if reason:
        keeper = "the checkpoint keeps none" if alone else "of several models none is kept"
        return _Fit(models, None, f"{reason}, and {keeper}.")
    fit = fit_on_validation(predict(rows), config.calibration, dataset.sha256)
    if not alone or not config.store or "site" in (models[0].validation_fit or ()):
        return _Fit(models, fit, NOT_STORED)
    return _stored(models[0], fit)


def _chose(kept: ValidationFit | None, own: bool, dataset: RadiographDataset, split: str) -> bool:
    """Whether a split chose the fit, or would choose it."""
    if kept is None or kept.site is None:
        return own and split == "validation"
    same = set(splits_of(split)) & set(splits_of(kept.site.split))
    return kept.site.sha256 == dataset.sha256 and bool(same)


def _kept_fit(model: LoadedModel) -> ValidationFit | None:
    """Return the fit in a checkpoint; None without one that this version understands."""
    fit = readable_fit(model.validation_fit)
    if fit is None or not set(model.identity["findings"]) <= fit.thresholds.keys():
        return None
    # of another model where the section was copied
    return fit if fit.site or fit.source == model.origin.get("data_sha256") else None


def _stored(model: LoadedModel, fit: ValidationFit) -> _Fit:
    try:
        stored = store_validation_fit(model, fit.to_plain())
    except OSError as error:
        warning = f"Thresholds and calibration could not be stored in {model.path}: {error}."
        return _Fit([model], fit, NOT_STORED, (warning,))
    if stored is None:
        warning = f"{model.path} was written anew meanwhile: nothing was stored in it."
        return _Fit([model], fit, NOT_STORED, (warning,))
    return _Fit([stored], fit, f"Chosen on validation, now stored in {model.path}.")


def _baseline_training(
    dataset: RadiographDataset, findings: tuple[str, ...]
) -> ScoredImages | None:
    """Return the training split, without probabilities; None without one."""
    rows = dataset.rows("train")
    if not len(rows):
        return None
    columns = [dataset.findings.index(name) for name in findings]
    labels, known = dataset.labels[rows][:, columns], dataset.known[rows][:, columns]
    patients = dataset.columns["patient_id"][rows]
    table = Predictions(findings, np.zeros(labels.shape), labels, known, patients)
    return scored_images(dataset, rows, table)


def _description(
    models: list[LoadedModel], dataset: RadiographDataset, config: EvaluateConfig
) -> dict[str, Any]:
    """Return where the predictions come from."""
    source, settings = dataset.manifest["source"], dataset.manifest["settings"]
    return {
        "model": models[0].identity if len(models) == 1 else None,
        "models": [model.identity for model in models],
        "predictions": None,
        "labels": None,
        "data": str(config.data),
        "data_sha256": dataset.sha256,
        "split": config.split,
        "split_scheme": settings["split_scheme"],
        "label_version": source["label_version"],
        "source": source["kind"],
        "labels_without_predictions": 0,
    }

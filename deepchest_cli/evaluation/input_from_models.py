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
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.data.source_relations import is_synthetic
from deepchest_cli.evaluation.compatibility import differences
from deepchest_cli.evaluation.evaluation_input import EvaluationInput, score_warnings
from deepchest_cli.evaluation.overlap import (
    no_overlap_note,
    overlap_warning,
)
from deepchest_cli.evaluation.predictions import (
    Predictions,
    ScoredImages,
    predict_rows,
    scored_images,
)
from deepchest_cli.evaluation.reading.pairing import findings_left_out
from deepchest_cli.evaluation.scored_data import (
    ScoredData,
    Shared,
    open_scored,
    refuse_duplicate_models,
    refuse_other_findings,
    refuse_shared_images,
)
from deepchest_cli.evaluation.units import IMAGE, PLURAL, Grouping, Units
from deepchest_cli.evaluation.validation_fit import ValidationFit, readable_fit
from deepchest_cli.model.backbones.own_function import run_named
from deepchest_cli.model.checkpoint import LoadedModel, load_model, store_validation_fit
from deepchest_cli.model.site import splits_of

Progress = Callable[[int, int], None]
Predict = Callable[[RadiographDataset, NDArray[np.int64]], Units]
NOT_STORED = "Chosen on validation; not stored."


@dataclass(frozen=True)
class _Fit:
    """The validation fit, the models with it, and what to tell the user."""

    models: list[LoadedModel]
    fit: ValidationFit | None
    note: str
    warnings: tuple[str, ...] = ()


def inputs_from_models(
    config: EvaluateConfig, device: torch.device, progress: Progress
) -> list[EvaluationInput]:
    """Return the predictions of one model, or the mean of several, for each data set.

    All have the same thresholds and calibration: those of the models' own validation. Raises
    `UsageError` before anything is predicted: for data of another size or without a finding of the
    models, for images or patients that they were made with or that two data sets share, for studies
    that are divided between splits or patients, and for models of different findings.
    """
    run_named(config.backbone)
    models = [load_model(Path(path), device) for path in config.model]
    refuse_duplicate_models(models)
    refuse_other_findings(models)
    several = [
        open_scored(models, Path(folder), config.split, config.allow_overlap)
        for folder in config.data
    ]
    shared = refuse_shared_images(several, config.allow_overlap)
    grouping = Grouping.of_config(config)
    grouping.view_weights.refuse_absent(
        {view for one in several for view in np.unique(one.dataset.columns["view"]).tolist()}
    )
    predict = partial(_predicted, models, device, config.batch_size, progress, grouping)
    for one in several:
        grouping.refuse_divided(one.dataset, one.rows)
        if one.is_own:
            grouping.refuse_divided(one.dataset, one.dataset.rows("validation"))
    fitted = _validation_fit(models, several, config, predict)
    return [
        _input(one, fitted, caution, predict) for one, caution in zip(several, shared, strict=True)
    ]


def _input(one: ScoredData, fitted: _Fit, shared: Shared, predict: Predict) -> EvaluationInput:
    dataset, rows = one.dataset, one.rows
    units = predict(dataset, rows)
    overlapping = overlap_warning(one.overlap, len(rows), one.split)
    synthetic = _are_synthetic(fitted.models, dataset, one.overlap)
    differing = [
        text for model in fitted.models for text in differences(model, dataset, rows, synthetic)
    ]
    fit, note = fitted.fit, fitted.note
    if _chose(fit, one):
        fit, note = None, "The scored split is the one that they would be chosen on."
    return EvaluationInput(
        scored=units.scored,
        units=units,
        description={
            **_description(fitted.models, one),
            "synthetic": synthetic,
            "overlap": one.overlap,
        },
        validation_fit=fit,
        validation_fit_note=note,
        baseline_training=None if one.split == "all" else _baseline_training(dataset, units),
        notes=(
            *units.notes,
            *filter(None, ["" if overlapping else no_overlap_note(one.overlap)]),
            *findings_left_out(one.findings, str(dataset.folder)),
        ),
        warnings=(
            *filter(None, [overlapping, shared.caution]),
            *dict.fromkeys(differing),
            *score_warnings(units.images.predictions),
            *units.warnings,
            *fitted.warnings,
        ),
        shares_images=shared.with_reference,
        dataset=dataset,
        rows=rows,
        models=tuple(fitted.models),
    )


def _are_synthetic(
    models: list[LoadedModel], dataset: RadiographDataset, overlap: dict[str, Any]
) -> bool | None:
    """Whether the radiographs are synthetic: by the data, or by the training images among them."""
    shared = overlap["training_images"] + overlap["validation_images"] > 0
    if shared and any(model.identity["synthetic"] for model in models):
        return True
    return is_synthetic(dataset.manifest["source"])


def _predicted(
    models: list[LoadedModel],
    device: torch.device,
    batch_size: int,
    progress: Progress,
    grouping: Grouping,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
) -> Units:
    """Return the units of some rows, with the mean probabilities of models for their findings."""
    reader, findings = ImageReader(dataset, device), dataset.findings
    tables = [
        predict_rows(model.classifier, reader, rows, batch_size, progress, findings)
        for model in models
    ]
    probabilities = [table.probabilities for table in tables]
    mean = replace(tables[0], probabilities=np.mean(probabilities, axis=0))
    return grouping.of(scored_images(dataset, rows, mean))


def _validation_fit(
    models: list[LoadedModel], several: list[ScoredData], config: EvaluateConfig, predict: Predict
) -> _Fit:
    """Return thresholds and calibration as the checkpoint has them, or fitted now.

    They are fitted where the checkpoint has none by this method, on the validation split of the
    data that the models were trained on, and stored where there is one model. Other data never
    choose them: what the checkpoint keeps is carried over unchanged. It keeps those of images: the
    mean of several images is on another scale, so that those of studies and patients are chosen
    on studies and patients, and not stored.
    """
    alone, by_image = len(models) == 1, config.unit == IMAGE
    kept = _kept_fit(models[0]) if alone and by_image else None
    if all(_chose(kept, one) for one in several):
        return _Fit(models, kept, "")
    own = next((one.dataset for one in several if one.is_own), None)
    rows = np.empty(0, dtype=np.int64) if own is None else own.rows("validation")
    reason = ""
    if own is None:
        reason = f"{', '.join(config.data)} is not what the model was trained on"
    elif not len(rows):
        reason = f"{own.folder} has no validation split"
    if kept is not None and (kept.method == config.calibration or kept.site or reason):
        note = f"Chosen on {kept.images_named} and kept in {models[0].path}"
        if kept.method != config.calibration:
            note += f", with {kept.method} scaling" + (f": {reason}" if reason else "")
        return _Fit(models, kept, f"{note}.")
    if own is None or reason:
        keeper = "the checkpoint keeps none" if alone else "of several models none is kept"
        if not by_image:
            keeper = f"what a checkpoint keeps was chosen on images, not on {PLURAL[config.unit]}"
        return _Fit(models, None, f"{reason}, and {keeper}.{_how_to_keep(models, own, by_image)}")
    chosen = predict(own, rows)
    fit = chosen.fit(config.calibration, own.sha256)
    if not by_image:
        note = (
            f"Chosen on validation ({chosen.counted()}); a checkpoint keeps those of images alone."
        )
        return _Fit(models, fit, note)
    if not alone or not config.store or "site" in (models[0].validation_fit or ()):
        return _Fit(models, fit, NOT_STORED)
    return _stored(models[0], fit)


def _chose(kept: ValidationFit | None, one: ScoredData) -> bool:
    """Whether the scored images chose a fit, or would choose it."""
    if kept is None or kept.site is None:
        return one.is_own and one.split == "validation"
    same = set(splits_of(one.split)) & set(splits_of(kept.site.split))
    return kept.site.sha256 == one.dataset.sha256 and bool(same)


def _how_to_keep(models: list[LoadedModel], own: RadiographDataset | None, by_image: bool) -> str:
    """Return how a model gets thresholds that other data can be scored at."""
    known = [one["data"] for one in models[0].data_sets if one["data"]]
    if own is not None or len(models) > 1 or not known:
        return ""
    if not by_image:
        return f" Give the model's own data as the first --data: {' or '.join(map(quote, known))}"
    flags = "".join(f" --data {quote(folder)}" for folder in known)
    command = f"deepchest evaluate --model {quote(str(models[0].path))}{flags}"
    return f" Evaluate on the model's own data first, which stores them: {command}"


def _kept_fit(model: LoadedModel) -> ValidationFit | None:
    """Return the fit in a checkpoint; None without one that this version understands."""
    fit = readable_fit(model.validation_fit)
    if fit is None or not set(model.identity["findings"]) <= fit.thresholds.keys():
        return None
    # of another model where the section was copied
    return fit if fit.site or fit.source in [one["sha256"] for one in model.data_sets] else None


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


def _baseline_training(dataset: RadiographDataset, units: Units) -> ScoredImages | None:
    """Return the training split, in units like those, without scores; None without one."""
    rows = dataset.rows("train")
    if not len(rows):
        return None
    labels, known = dataset.labels[rows], dataset.known[rows]
    patients = dataset.columns["patient_id"][rows]
    table = Predictions(dataset.findings, np.zeros(labels.shape), labels, known, patients)
    return units.alike(scored_images(dataset, rows, table))


def _description(models: list[LoadedModel], one: ScoredData) -> dict[str, Any]:
    """Return where the predictions come from."""
    dataset = one.dataset
    source, settings = dataset.manifest["source"], dataset.manifest["settings"]
    return {
        "model": models[0].identity if len(models) == 1 else None,
        "models": [model.identity for model in models],
        "predictions": None,
        "labels": None,
        "data": str(dataset.folder),
        "data_sha256": dataset.sha256,
        "split": one.split,
        "split_scheme": settings["split_scheme"],
        "label_version": source["label_version"],
        "source": source["kind"],
        "labels_without_predictions": 0,
        "predictions_without_labels": 0,
        "findings_not_predicted": list(one.findings.only_second),
        "findings_not_labeled": list(one.findings.only_first),
    }

"""Evaluation of checkpoints on shards: predictions of one model or the mean of several."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
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
from deepchest_cli.evaluation.model_fits import ModelFits, Predict, choose_fits
from deepchest_cli.evaluation.overlap import no_overlap_note, overlap_warning
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
from deepchest_cli.evaluation.units import Grouping, Units
from deepchest_cli.model.backbones.own_function import run_named
from deepchest_cli.model.checkpoint import LoadedModel, load_model

Progress = Callable[[int, int], None]


def inputs_from_models(
    config: EvaluateConfig, device: torch.device, progress: Progress
) -> list[EvaluationInput]:
    """Return the predictions of one model, or the mean of several, for each data set.

    Thresholds and calibration are those of the models' own validation (`model_fits`). Raises
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
    fitted = choose_fits(models, several, config, predict)
    return [
        _input(one, fitted, caution, predict) for one, caution in zip(several, shared, strict=True)
    ]


def _input(one: ScoredData, fitted: ModelFits, shared: Shared, predict: Predict) -> EvaluationInput:
    dataset, rows = one.dataset, one.rows
    units = predict(dataset, rows)
    overlapping = overlap_warning(one.overlap, len(rows), one.split)
    synthetic = _are_synthetic(fitted.models, dataset, one.overlap)
    differing = [
        text for model in fitted.models for text in differences(model, dataset, rows, synthetic)
    ]
    fit, note = fitted.of(one)
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

"""Out-of-fold predictions for scoring: each image by the model that has not seen its patient.

Thresholds and calibration are those that each fold's own validation patients choose for its model.
Those of all folds together would be chosen by patients whom other folds test on. Metrics of rank
compare images of the same fold, and of the same data set where there are several.
"""

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.evaluation_input import EvaluationInput, score_warnings
from deepchest_cli.evaluation.fold_predictions import load_probabilities, predictions_of
from deepchest_cli.evaluation.overlap import UNCHECKED
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages, scored_images
from deepchest_cli.evaluation.units import Grouping, Units
from deepchest_cli.evaluation.validation_fit import ValidationFit, fit_of_folds
from deepchest_cli.model.backbones.own_function import run_named
from deepchest_cli.model.checkpoint import LoadedModel, load_model
from deepchest_cli.model.fold_runs import PREDICTIONS, config_of, finished_folds

CHOICES = {  # by the flag --keep of the training
    "best": "The best epoch of each fold's model was chosen on validation patients of that fold, "
    "never on its test patients.",
    "last": "The last epoch of each fold's model was kept; its test patients chose nothing.",
}
Rows = NDArray[np.int64]


def input_from_folds(
    folder: Path, config: EvaluateConfig, dataset: RadiographDataset | None = None
) -> EvaluationInput:
    """Return the out-of-fold predictions of a run with folds, as its folders keep them.

    dataset: what it was trained on, where that is open. Raises `UsageError` for a run that has not
    ended, and where its data are not there or are others.
    """
    run_named(config.backbone)
    saved = config_of(folder)
    folds, seed = int(saved["folds"]), int(saved["seed"])
    folders = finished_folds(folder, folds)
    models = [load_model(path, torch.device("cpu")) for path in folders]
    dataset = dataset or _open_data(folder, tuple(saved["data"]), models[0])
    grouping = Grouping.of_config(config)
    grouping.view_weights.refuse_absent(set(np.unique(dataset.columns["view"]).tolist()))
    views = [dataset.folded(number, folds, seed) for number in range(folds)]
    units = grouping.of(_out_of_fold(views, folders))
    numbers = tuple(n for n in range(1, folds + 1) for _ in dataset.members)
    fit, chosen = _fit(views, folders, grouping, config)
    rows = np.flatnonzero(dataset.columns["split"] != "")
    return EvaluationInput(
        scored=units.scored,
        units=units,
        description=_description(models, dataset, f"{folds} folds, seed {seed}"),
        validation_fit=fit,
        validation_fit_note=chosen,
        baseline_training=None,
        notes=(
            CHOICES[saved.get("keep", "best")],
            *_in_some_folds(units.scored.predictions, numbers),
            *units.notes,
        ),
        warnings=(*score_warnings(units.images.predictions), *units.warnings),
        dataset=_all_tested(dataset),
        rows=rows,
        models=tuple(models),
        fold_numbers=numbers,
        run=folder,
    )


def _open_data(folder: Path, data: tuple[str, ...], model: LoadedModel) -> RadiographDataset:
    """Return the data that a run with folds was trained on, in its order."""
    again = f"deepchest train --resume {quote(str(folder))}{' --data FOLDER' * len(data)}"
    try:
        dataset = open_datasets(data)
    except UsageError as error:
        raise UsageError(
            f"The data of {folder}, whose labels are scored, are not found: {error.message}",
            f"If they lie elsewhere now, name them once: {again}",
        ) from error
    if [one.sha256 for one in dataset.members] != [one["sha256"] for one in model.data_sets]:
        raise UsageError(
            f"The data in {dataset.folders} have changed since {folder} was trained on them.",
            f"Prepare them with the same settings again, or name where they are now: {again}",
        )
    return dataset.named([one["name"] for one in model.data_sets])


def _all_tested(dataset: RadiographDataset) -> RadiographDataset:
    splits = np.where(dataset.columns["split"] == "", "", "test")
    return replace(dataset, columns={**dataset.columns, "split": splits})


def _out_of_fold(views: list[RadiographDataset], folders: list[Path]) -> ScoredImages:
    """Return all images in the order of the data set, each scored by the model of its fold."""
    first = views[0]
    rows = np.flatnonzero(first.columns["split"] != "")
    scores = np.full((len(first.labels), len(first.findings)), np.nan)
    fold = np.zeros(len(first.labels), dtype=np.int64)
    for number, (view, folder) in enumerate(zip(views, folders, strict=True)):
        tested = view.rows("test")
        scores[tested] = _stored(folder, view, "test")
        fold[tested] = number * len(view.members) + view.member[tested]
    table = predictions_of(first, rows, scores[rows])
    return scored_images(first, rows, replace(table, fold=fold[rows]))


def _stored(folder: Path, view: RadiographDataset, split: str) -> NDArray[np.float64]:
    run = quote(str(folder.parent))
    hint = f"Remove the file, and make it anew with: deepchest train --resume {run}"
    return load_probabilities(folder / PREDICTIONS, view, hint, split)


def _fit(
    views: list[RadiographDataset], folders: list[Path], grouping: Grouping, config: EvaluateConfig
) -> tuple[ValidationFit, str]:
    """Return what the validation split of each fold chooses for its model, and what to say."""
    fits, rows = [], []
    for view, folder in zip(views, folders, strict=True):
        rows.append(view.rows("validation"))
        table = predictions_of(view, rows[-1], _stored(folder, view, "validation"))
        units: Units = grouping.of(scored_images(view, rows[-1], table))
        fits.append(units.fit(config.calibration, view.sha256))
    chosen_on = np.unique(np.concatenate(rows))
    patients = np.unique(views[0].columns["patient_id"][chosen_on])
    by_group = [fit for fit in fits for _ in views[0].members]
    fit = replace(fit_of_folds(by_group), images=len(chosen_on), patients=len(patients))
    sizes = [len(one) for one in rows]
    return fit, (
        f"Chosen for each fold's model on its own validation split ({min(sizes):,} to "
        f"{max(sizes):,} images); thresholds and slopes that are shown are means over the folds."
    )


def _in_some_folds(table: Predictions, numbers: tuple[int, ...]) -> list[str]:
    """Return which findings have an AUROC in some folds only; numbers: the fold of each group."""
    assert table.fold is not None
    found, folds = [], max(numbers)
    for column, name in enumerate(table.findings):
        rows, labels, _ = table.known_labels(column)
        groups = [set(table.fold[rows][labels == y].tolist()) for y in (1, 0)]
        defined = {numbers[group] for group in groups[0] & groups[1]}
        if 0 < len(defined) < folds:
            found.append(f"{name} ({len(defined)} of {folds})")
    if not found:
        return []
    return [
        "Not every fold tests patients with and without the finding; the AUROC is that of the "
        f"folds that do: {few(found)}."
    ]


def _description(
    models: list[LoadedModel], dataset: RadiographDataset, scheme: str
) -> dict[str, Any]:
    """Return where the predictions come from."""
    sources = [member.manifest["source"] for member in dataset.members]

    def joined(key: str) -> str:
        return ", ".join(dict.fromkeys(str(one[key]) for one in sources))

    return {
        "model": None,
        "models": [model.identity for model in models],
        "predictions": None,
        "labels": None,
        "data": dataset.folders,
        "data_sha256": dataset.sha256,
        "split": "out-of-fold",
        "split_scheme": scheme,
        "label_version": joined("label_version"),
        "source": joined("kind"),
        "synthetic": dataset.is_synthetic,
        "labels_without_predictions": 0,
        "predictions_without_labels": 0,
        "findings_not_predicted": [],
        "findings_not_labeled": [],
        "overlap": {
            **UNCHECKED,
            "pixel_hashes_compared": True,
            "is_training_data_set": True,
            "patients_compared": True,
        },
    }

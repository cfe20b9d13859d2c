"""The thresholds and calibration at which models are scored: kept in a checkpoint, or chosen now.

A data set that a model was trained on has those that its own validation split chose. All other data
have those of the validation splits of all data sets of training together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.merging import merge_datasets
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.compatibility import DataSet, is_training_data_set
from deepchest_cli.evaluation.scored_data import ScoredData, as_scored
from deepchest_cli.evaluation.units import IMAGE, PLURAL, Units
from deepchest_cli.evaluation.validation_fit import ValidationFit, fit_by_data_set, readable_fit
from deepchest_cli.model.checkpoint import LoadedModel, store_validation_fit
from deepchest_cli.model.site import splits_of

Predict = Callable[[RadiographDataset, NDArray[np.int64]], Units]
NOT_STORED = "; not stored"


@dataclass(frozen=True)
class ModelFits:
    """The fits of models, the models with them, and what to tell the user."""

    models: list[LoadedModel]
    pooled: ValidationFit | None = None  # for data that the models were not trained on
    each: tuple[ValidationFit, ...] = ()  # of data sets of training
    how: str = ""  # they were stored or kept
    reason: str = ""  # why there is none
    warnings: tuple[str, ...] = ()
    counted: Mapping[str, str] = field(default_factory=dict)  # units that chose, by data set's hash

    def of(self, one: ScoredData) -> tuple[ValidationFit | None, str]:
        """Return the fit at which a data set is scored, or None, and what to say of it."""
        own = [fit for fit in self.each if one.is_own and fit.source == one.dataset.sha256]
        fit = next(iter(own), self.pooled)
        if _chose(fit, one):
            return None, "The scored split is the one that they would be chosen on."
        if fit is None:
            return None, self.reason
        counted = self.counted.get(fit.source)
        units = f" ({counted})" if counted else ""
        return fit, f"Chosen on {fit.images_named}{units}{self.how}."


def choose_fits(
    models: list[LoadedModel], several: list[ScoredData], config: EvaluateConfig, predict: Predict
) -> ModelFits:
    """Return thresholds and calibration, for images or for the units that are scored."""
    if config.unit != IMAGE:
        return _of_units(models, several, config, predict)
    return _of_images(models, several, config, predict)


def _of_images(
    models: list[LoadedModel], several: list[ScoredData], config: EvaluateConfig, predict: Predict
) -> ModelFits:
    """Return thresholds and calibration as the checkpoint has them, or fitted now.

    They are fitted where the checkpoint has none by this method and a data set of training is
    scored, on the validation splits of all data sets of training, and stored where there is one
    model. Other data never choose them: what the checkpoint keeps is carried over unchanged.
    """
    alone = len(models) == 1
    kept = _kept_fit(models[0]) if alone else None
    own = [one for one in several if one.is_own]
    if all(_chose(kept, one) for one in several):
        return ModelFits(models)
    if kept is not None and (kept.method == config.calibration or kept.site):
        return _kept(models, kept, config, "")
    training, reason = _training_data(models, own)
    if not own:
        reason = f"{', '.join(config.data)} is not what the model was trained on"
    if kept is not None and reason:
        return _kept(models, kept, config, reason)
    if training is None:
        keeper = "the checkpoint keeps none" if alone else "of several models none is kept"
        how_to_keep = "" if own or not alone else _how_to_keep(models[0])
        return ModelFits(models, reason=f"{reason}, and {keeper}.{how_to_keep}")
    fit = fit_by_data_set(
        predict(training, training.rows("validation")).scored.predictions,
        training,
        config.calibration,
    )
    each = fit.each or (fit,)
    if reason:
        return ModelFits(models, None, each, f"{NOT_STORED}: {reason}", f"{reason}.")
    return _stored(models, fit, each, config.store)


def _of_units(
    models: list[LoadedModel], several: list[ScoredData], config: EvaluateConfig, predict: Predict
) -> ModelFits:
    """Return what the validation split of each data set of training chooses on its own units.

    A checkpoint keeps what images chose: the mean of several images is on another scale. Other data
    have the fit of the data set of training that is scored beside them, where it is a single one.
    """
    own = [one for one in several if one.is_own and len(one.dataset.rows("validation"))]
    chosen = {
        one.dataset.sha256: predict(one.dataset, one.dataset.rows("validation"))
        for one in own
        if one.split != "validation"
    }
    each = tuple(units.fit(config.calibration, source) for source, units in chosen.items())
    if any(one.is_own for one in several):
        names = ", ".join(str(one.dataset.folder) for one in several if one.is_own)
        reason = f"{names}: no validation split chooses for other data"
    else:
        known = [quote(one["data"]) for one in models[0].data_sets if one["data"]]
        give = f" Give the model's own data as the first --data: {' or '.join(known)}"
        reason = (
            f"{', '.join(config.data)} is not what the model was trained on, and what a checkpoint "
            f"keeps was chosen on images, not on {PLURAL[config.unit]}.{give if known else ''}"
        )
    return ModelFits(
        models,
        each[0] if len(each) == 1 else None,
        each,
        "; a checkpoint keeps those of images alone",
        reason,
        counted={source: units.counted() for source, units in chosen.items()},
    )


def _chose(kept: ValidationFit | None, one: ScoredData) -> bool:
    """Whether the scored images chose a fit, or would choose it."""
    if kept is None or kept.site is None:
        return one.is_own and one.split == "validation"
    same = set(splits_of(one.split)) & set(splits_of(kept.site.split))
    return kept.site.sha256 == one.dataset.sha256 and bool(same)


def _kept(
    models: list[LoadedModel], kept: ValidationFit, config: EvaluateConfig, reason: str
) -> ModelFits:
    """Return the fits of a checkpoint; reason: why none was chosen by the requested method."""
    how = f" and kept in {models[0].path}"
    if kept.method != config.calibration:
        how += f", with {kept.method} scaling" + (f": {reason}" if reason else "")
    return ModelFits(models, kept, () if kept.site else kept.each or (kept,), how)


def _training_data(
    models: list[LoadedModel], own: list[ScoredData]
) -> tuple[RadiographDataset | None, str]:
    """Return the data sets that all models were trained on, as one, and why some are missing.

    They are read where they were, but for those that are scored; where any is gone, these alone.
    None where there is no image to choose on.
    """
    if not own:
        return None, ""
    scored = {one.dataset.sha256: one.dataset for one in own}
    opened = [
        (origin, scored.get(origin["sha256"]) or _opened(models, origin))
        for origin in models[0].data_sets
        if all(origin["sha256"] in [one["sha256"] for one in model.data_sets] for model in models)
    ]
    gone = [str(origin["data"]) for origin, dataset in opened if dataset is None]
    found = [
        (str(origin["name"]), dataset)
        for origin, dataset in opened
        if dataset is not None and (dataset.sha256 in scored or not gone)
    ]
    names, datasets = zip(*found, strict=True)
    training = merge_datasets(datasets).named(names)
    if not len(training.rows("validation")):
        verb = "has" if len(names) == 1 else "have"
        return None, f"{training.folders} {verb} no validation split"
    if not gone:
        return training, ""
    verb, as_before = ("is", "it was") if len(gone) == 1 else ("are", "they were")
    return training, (
        f"{', '.join(gone)}, which the model was trained on too, {verb} not there as {as_before}; "
        "name the folder with another --data"
    )


def _opened(models: list[LoadedModel], origin: DataSet) -> RadiographDataset | None:
    """Return a data set of training as it would be scored; None where it is not what it was."""
    try:
        dataset = open_dataset(Path(origin["data"]))
    except (DeepChestError, TypeError):
        return None
    return as_scored(models, dataset)[0] if is_training_data_set(origin, dataset) else None


def _how_to_keep(model: LoadedModel) -> str:
    """Return how a model gets thresholds that other data can be scored at."""
    known = [one["data"] for one in model.data_sets if one["data"]]
    if not known:
        return ""
    flags = "".join(f" --data {quote(folder)}" for folder in known)
    command = f"deepchest evaluate --model {quote(str(model.path))}{flags}"
    return f" Evaluate on the model's own data first, which stores them: {command}"


def _kept_fit(model: LoadedModel) -> ValidationFit | None:
    """Return the fit in a checkpoint; None without one that this version understands."""
    fit = readable_fit(model.validation_fit)
    if fit is None or not set(model.identity["findings"]) <= fit.thresholds.keys():
        return None
    # of another model where the section was copied
    chosen_on = {one.source for one in fit.each or (fit,)}
    return fit if fit.site or chosen_on == {one["sha256"] for one in model.data_sets} else None


def _stored(
    models: list[LoadedModel], fit: ValidationFit, each: tuple[ValidationFit, ...], store: bool
) -> ModelFits:
    """Return fits that were chosen now; they go into the checkpoint of a model that is alone."""
    model, warning = models[0], ""
    if len(models) == 1 and store and "site" not in (model.validation_fit or ()):
        try:
            stored = store_validation_fit(model, fit.to_plain())
        except OSError as error:
            warning = f"Thresholds and calibration could not be stored in {model.path}: {error}."
        else:
            if stored is not None:
                return ModelFits([stored], fit, each, f", now stored in {model.path}")
            warning = f"{model.path} was written anew meanwhile: nothing was stored in it."
    return ModelFits(models, fit, each, NOT_STORED, warnings=(warning,) if warning else ())

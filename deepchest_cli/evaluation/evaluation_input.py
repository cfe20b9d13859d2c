"""What an evaluation scores, wherever it comes from, and checks of the scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import few
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.units import Grouping, Units
from deepchest_cli.evaluation.validation_fit import ValidationFit
from deepchest_cli.model.checkpoint import LoadedModel


@dataclass(frozen=True)
class EvaluationInput:
    """The scored images or units, what was fitted on validation, and where both come from."""

    scored: ScoredImages
    description: dict[str, Any]  # model, models, predictions, labels, data, split, ...
    validation_fit: ValidationFit | None
    validation_fit_note: str  # where the fit comes from, or why there is none
    # images of other patients, for the metadata baseline; their probabilities mean nothing
    baseline_training: ScoredImages | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    medmnist: bool = False  # whether the labels are those of chestmnist.npz
    shares_images: bool = False  # or patients, with the first of several data sets
    # with the findings alone that are scored, spelled as the models do
    dataset: RadiographDataset | None = None
    rows: Any = None  # (N,), of the data set
    models: tuple[LoadedModel, ...] = ()
    units: Units | None = None  # those that are scored; None: single images are
    # the number of a fold, from 1, by what `Predictions.fold` says; empty: one model scored all
    fold_numbers: tuple[int, ...] = ()
    run: Path | None = None  # the run with folds whose out-of-fold predictions these are

    @property
    def scored_units(self) -> Units:
        """The scored units with their images, which are the same where images are scored."""
        return Grouping().of(self.scored) if self.units is None else self.units

    @property
    def images(self) -> ScoredImages:
        """The images that the scored units are made of."""
        return self.scored_units.images

    def folds_of(self, table: Predictions) -> NDArray[np.int64] | None:
        """Return the fold (n,), from 1, whose model scored an image or a unit; None: no folds."""
        return None if table.fold is None else np.array(self.fold_numbers)[table.fold]

    @property
    def name(self) -> str:
        """The predictions' file, or the models."""
        if self.run is not None:
            return str(self.run)
        models = ", ".join(model["path"] for model in self.description["models"])
        return str(self.description["predictions"] or models)

    @property
    def splits(self) -> NDArray[np.str_] | None:
        """The split of each image (N,); None where those of some are not known."""
        if self.dataset is not None:
            splits = np.asarray(self.dataset.columns["split"][self.rows])
        else:
            splits = np.full(len(self.images), self.description["split"])
        return splits if np.isin(splits, SPLITS).all() else None


def score_warnings(table: Predictions) -> tuple[str, ...]:
    """Return which scores are constant, decisions, or the labels themselves.

    Their metrics look like any others.
    """
    constant: list[str] = []
    decisions: list[str] = []
    copied: list[str] = []
    for column, finding in enumerate(table.findings):
        scores, known = table.probabilities[:, column], table.known[:, column] == 1
        if len(scores) < 2:
            continue
        if scores.min() == scores.max():
            constant.append(finding)
        elif np.isin(scores, (0, 1)).all():
            same = known.any() and bool((scores == table.labels[:, column])[known].all())
            (copied if same else decisions).append(finding)
    texts = {
        "All images have the same score for {}: ranking metrics say nothing there.": constant,
        "The scores for {} are the labels themselves.": copied,
        "The scores for {} are 0 or 1: decisions, of which AUROC and average precision see a "
        "single threshold.": decisions,
    }
    return tuple(text.format(few(findings)) for text, findings in texts.items() if findings)

"""A model for each fold of the patients: what is refused, and the predictions of each model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepchest_cli.config import EvaluateConfig, TrainConfig
from deepchest_cli.data.dataset import Member, RadiographDataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.evaluation.fold_predictions import predictions_of, save_probabilities
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.evaluation.validation_fit import fit_by_data_set
from deepchest_cli.interruption import stop_on_signal
from deepchest_cli.model.checkpoint import load_model, store_validation_fit
from deepchest_cli.model.fold_runs import PREDICTIONS, fold_folders
from deepchest_cli.training.checks import refuse_unfit_splits
from deepchest_cli.training.device import free_memory, resolve_device
from deepchest_cli.training.run_directory import resume_command

# as those of `deepchest evaluate`, and so the same to the last bit
SCORING = EvaluateConfig()


@dataclass(frozen=True)
class Fold:
    """One of the folds of a run: the data in its splits, and the folder and settings of its run."""

    number: int  # from 1
    folder: Path
    config: TrainConfig
    dataset: RadiographDataset

    @property
    def is_done(self) -> bool:
        """Whether its model is trained, and has predicted."""
        return (self.folder / PREDICTIONS).is_file()


def folds_of(config: TrainConfig, folder: Path, dataset: RadiographDataset) -> list[Fold]:
    """Return the folds of a run in a folder, which may not be there yet.

    Raises `UsageError` for folds that cannot all be trained and tested.
    """
    assert config.folds is not None
    if config.folds > len(dataset.labels):
        raise fewer_patients_than_folds(dataset.members[0], "")
    refuse_images_in_two_folds(dataset)
    folds = []
    for number, place in enumerate(fold_folders(folder, config.folds), start=1):
        view = dataset.folded(number - 1, config.folds, config.seed)
        _refuse_unfit(view, config, f"Fold {number} of {config.folds}: ")
        own = replace(config, fold=number, out=None, resume=None)
        folds.append(Fold(number, place, own, view))
    return folds


def _refuse_unfit(view: RadiographDataset, config: TrainConfig, where: str) -> None:
    untested = without_test_split(view)
    if untested is not None:
        raise fewer_patients_than_folds(untested, where)
    try:
        refuse_unfit_splits(view, {split: view.rows(split) for split in SPLITS}, config)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", error.hint) from error


def without_test_split(view: RadiographDataset) -> Member | None:
    """Return the first data set with findings of which nothing is tested; None: all have some."""
    tested = set(np.unique(view.member[view.rows("test")]).tolist())
    members = enumerate(view.members)
    return next((one for n, one in members if one.findings and n not in tested), None)


def fewer_patients_than_folds(member: Member, where: str) -> UsageError:
    """Return the error of a data set that has not a patient for each fold."""
    return UsageError(
        f"{where}{member.folder} has fewer patients than folds.", "Use fewer --folds."
    )


def predict_fold(fold: Fold, progress: Callable[[int, int], None]) -> None:
    """Predict the validation and test patients of a fold by the best epoch of its model.

    The former choose thresholds and calibration, which the model keeps. Raises
    `InterruptedRunError` after a signal; what is missing is made when the run is resumed.
    """
    view, device = fold.dataset, resolve_device(fold.config.device)
    model = load_model(fold.folder, device)
    splits = {name: view.rows(name) for name in ("validation", "test")}
    reader, size, found = ImageReader(view, device), SCORING.batch_size, {}
    with stop_on_signal() as stop:
        heed = stop.heeded(progress)
        try:
            for name, rows in splits.items():
                table = predict_rows(model.classifier, reader, rows, size, heed, view.findings)
                found[name] = table.probabilities
        except KeyboardInterrupt:
            if stop.exit_code is None:
                raise
            raise InterruptedRunError(
                f"Interrupted after the training of fold {fold.number}, which is saved.",
                f"Resume with: {resume_command(fold.folder, fold.config)}",
                stop.exit_code,
            ) from None
    validation = predictions_of(view, splits["validation"], found["validation"])
    fit = fit_by_data_set(validation, view, SCORING.calibration)
    store_validation_fit(model, fit.to_plain())
    save_probabilities(fold.folder / PREDICTIONS, view, found)
    free_memory()


def refuse_images_in_two_folds(dataset: RadiographDataset) -> None:
    """Raise `UsageError` where images of several data sets would come into different folds."""
    _, place = np.unique(dataset.pixel_hash, return_inverse=True)
    order = np.lexsort((dataset.member, place))
    order = order[dataset.columns["split"][order] != ""]
    one, other = order[:-1], order[1:]
    patients = dataset.columns["patient_id"]
    shared = (place[one] == place[other]) & (dataset.member[one] != dataset.member[other])
    shared &= patients[one] != patients[other]
    if shared.any():
        rows = one[shared][0], other[shared][0]
        folders = " and ".join(str(dataset.members[dataset.member[row]].folder) for row in rows)
        names = " and ".join(str(dataset.columns["image_index"][row]) for row in rows)
        raise UsageError(
            f"--folds would train on images that are tested in another data set: "
            f"{count_of(int(shared.sum()), 'image is', 'images are')} (by pixel hash) in two of "
            f"them, of different patients; the first in {folders} ({names}).",
            "Take these images out of one of them, or leave --folds out.",
        )

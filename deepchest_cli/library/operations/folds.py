"""Training with `--folds`: a run for each fold of the patients, scored out of fold at the end."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import EvaluateConfig, TrainConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.files import locked, write_json
from deepchest_cli.library.operations.fit import Observe, build, fit
from deepchest_cli.library.tracking import tracking
from deepchest_cli.model.fold_runs import OUT_OF_FOLD, RESULTS
from deepchest_cli.reporter import Reporter
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:
    from deepchest_cli.data.dataset import RadiographDataset
    from deepchest_cli.training.distributed import DistributedContext
    from deepchest_cli.training.folds import Fold

FINISHED = "{} has finished: nothing is left to train."


@dataclass(frozen=True)
class FoldSummary:
    """How the run of a fold ended, by its validation patients."""

    fold: int  # from 1
    run: str
    epochs: int
    best_epoch: int
    validation_auroc: float  # macro mean, of the best epoch


@dataclass(frozen=True)
class FoldsSummary:
    """How a run with folds ended; evaluation: the document of its out-of-fold predictions."""

    run: Path
    folds: tuple[FoldSummary, ...]
    evaluation: dict[str, Any] = field(repr=False)

    def to_plain(self) -> dict[str, Any]:
        """Return what `train --json` prints."""
        return {
            "run": str(self.run),
            "folds": [vars(fold) for fold in self.folds],
            "evaluation": self.evaluation,
        }


def train_folds(
    config: TrainConfig, distributed: "DistributedContext", reporter: Reporter, observe: Observe
) -> FoldsSummary:
    """Train the folds of a new run, or those that are missing of one; score them out of fold.

    config: with the folder to resume, or the data of a new run. Raises `UsageError` before anything
    is trained, and what `Trainer.fit` raises.
    """
    from deepchest_cli.interruption import stop_on_signal
    from deepchest_cli.training.folds import folds_of, predict_fold
    from deepchest_cli.training.resume import folder_to_resume, open_folds_again, record_changes
    from deepchest_cli.training.run_directory import create_run

    if distributed.world_size > 1:
        raise UsageError(
            "--folds trains in one process: its folds predict their test patients one by one.",
            "Start it without torchrun or srun, or train several single runs.",
        )
    folder, dataset = folder_to_resume(config), None
    if folder is None:
        config, dataset = _tried(config, distributed)
        folder = create_run(config)
    with locked(folder), stop_on_signal():  # a signal between two folds ends the next at once
        if dataset is None:
            dataset = open_folds_again(config, folder)
            config = replace(config, data=tuple(str(one.folder) for one in dataset.members))
            record_changes(config, folder)
        folds = folds_of(config, folder, dataset)
        if all(fold.is_done for fold in folds):
            reporter.note(FINISHED.format(folder))
        for fold in folds:
            if fold.is_done:  # a tracker may lack it
                with tracking(fold.config, fold.folder, reporter):
                    pass
            else:
                reporter.note(f"Fold {fold.number} of {len(folds)}")
                _train(fold, distributed, reporter, observe)
                with reporter.progress(f"Predicting fold {fold.number}") as progress:
                    predict_fold(fold, progress)
        return _evaluated(folder, folds, dataset, reporter)


def _tried(
    config: TrainConfig, distributed: "DistributedContext"
) -> tuple[TrainConfig, "RadiographDataset"]:
    """Return the configuration with what is chosen once for all folds, and the data.

    That are the precision, the weights and code of one's own. Raises `UsageError` for what does not
    fit the data or the machine, in whichever fold.
    """
    from deepchest_cli.data.merging import open_datasets
    from deepchest_cli.training.device import free_memory
    from deepchest_cli.training.folds import folds_of

    dataset = open_datasets(config.data)
    first = folds_of(config, Path(), dataset)[0]
    tried = replace(first.config, cache="none")  # nothing is read yet
    chosen = build(tried, distributed, resumed=False, dataset=first.dataset).config
    free_memory()
    return replace(
        chosen, cache=config.cache, fold=None, out=config.out, resume=config.resume
    ), dataset


def _train(
    fold: "Fold", distributed: "DistributedContext", reporter: Reporter, observe: Observe
) -> None:
    """Train the model of a fold, from its last checkpoint where there is one."""
    from deepchest_cli.model.checkpoint_format import LAST
    from deepchest_cli.training.device import free_memory
    from deepchest_cli.training.run_directory import fill_run

    goes_on = (fold.folder / LAST).is_file()
    if not goes_on:
        fill_run(fold.folder, fold.config)
    config = replace(fold.config, resume=fold.folder if goes_on else None)
    components = build(config, distributed, goes_on, fold.dataset)
    fit(components, fold.folder, goes_on, reporter, observe)
    del components
    free_memory()


def _evaluated(
    folder: Path, folds: list["Fold"], dataset: "RadiographDataset", reporter: Reporter
) -> FoldsSummary:
    """Score the out-of-fold predictions, write them and the results, and return how it ended."""
    from deepchest_cli.evaluation.document import EvaluationOptions, build_document
    from deepchest_cli.evaluation.input_from_folds import input_from_folds
    from deepchest_cli.evaluation.localization import ONE_MODEL
    from deepchest_cli.evaluation.output.predictions_table import write_predictions
    from deepchest_cli.training.run_directory import point_latest

    inputs = input_from_folds(folder, EvaluateConfig(), dataset)
    for warning in inputs.warnings:
        reporter.warning(warning)
    for note in inputs.notes:
        reporter.note(note)
    document = build_document(inputs, EvaluationOptions(localization_note=ONE_MODEL))
    write_predictions(folder / OUT_OF_FOLD, inputs)
    write_json(folder / RESULTS, versioned(document))
    if warning := point_latest(folder):
        reporter.warning(warning)
    return FoldsSummary(folder, tuple(_summary(fold) for fold in folds), document)


def _summary(fold: "Fold") -> FoldSummary:
    from deepchest_cli.training.plots import read_columns
    from deepchest_cli.training.run_files import METRICS

    table = read_columns(fold.folder / METRICS)
    best = table["best"].nonzero()[0][-1]  # each was the best of its time
    epochs, auroc = int(table["epoch"][-1]), float(table["validation_auroc"][best])
    return FoldSummary(fold.number, str(fold.folder), epochs, int(table["epoch"][best]), auroc)

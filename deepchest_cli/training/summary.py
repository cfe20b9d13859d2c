"""How a run ended, with the best epoch's metrics on each data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.run_files import ALL, SOURCE
from deepchest_cli.training.train_state import TrainState
from deepchest_cli.training.validation import VALIDATION_METRICS


@dataclass(frozen=True)
class DataSetSummary:
    """What a run had of a data set, and how well the best epoch's model does on it."""

    name: str
    data: str  # its folder
    training_images: int
    validation_images: int
    finding_auroc: dict[str, float]  # in validation, of the findings that are labeled there
    validation: dict[str, float]  # means over findings, by metric; empty without a best epoch


@dataclass(frozen=True)
class TrainingSummary:
    """How a run ended; nothing in it comes from the test split."""

    run: Path
    epochs: int
    steps: int
    keep: str  # which epoch's model: the best, or the last
    best_epoch: int  # the one that is kept
    best_score: float
    criterion: str  # what `best_score` is
    stopped_early: bool
    initial_weights_sha256: str  # SHA-256 of the model's weights before the first step
    batches_sha256: tuple[str, ...]  # SHA-256 of the rows of all batches until each epoch's end
    data_sets: tuple[DataSetSummary, ...]
    learning_rate: float | None = None  # of the best head of a linear probe


def summarize(components: TrainingComponents, state: TrainState, folder: Path) -> TrainingSummary:
    """Return how a finished run ended."""
    best = {row[SOURCE]: row for row in state.metrics if row["epoch"] == state.best_epoch}
    return TrainingSummary(
        run=folder,
        epochs=state.epoch,
        steps=state.step,
        keep=components.config.keep,
        best_epoch=state.best_epoch,
        best_score=state.best_score,
        criterion=state.criterion,
        stopped_early=state.step < components.total_steps,
        initial_weights_sha256=state.initial_weights,
        batches_sha256=tuple(state.epoch_batches),
        data_sets=tuple(
            _of_data_set(components, number, best.get(member.name, best.get(ALL, {})))
            for number, member in enumerate(components.dataset.members)
        ),
        learning_rate=state.learning_rate,
    )


def _of_data_set(
    components: TrainingComponents, number: int, best: dict[str, Any]
) -> DataSetSummary:
    dataset = components.dataset
    member = dataset.members[number]
    splits = components.training_rows, components.validation_rows
    training, validation = (int((dataset.member[rows] == number).sum()) for rows in splits)
    return DataSetSummary(
        name=member.name,
        data=str(member.folder),
        training_images=training,
        validation_images=validation,
        finding_auroc={
            finding: best.get(f"validation_auroc/{finding}", float("nan"))
            for finding in member.findings
        },
        validation={name: best[f"validation_{name}"] for name in VALIDATION_METRICS if best},
    )

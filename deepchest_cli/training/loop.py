"""The training loop, to be read from top to bottom."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.data.batches import batches, epoch_order
from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.files import held, to_csv, write_text
from deepchest_cli.model.checkpoint import BEST, LAST, save_checkpoint
from deepchest_cli.training.epoch_record import EpochRecord
from deepchest_cli.training.interruption import StopRequest, stop_on_signal
from deepchest_cli.training.position import Position, restore, snapshot
from deepchest_cli.training.progress import EpochReport, Observer, StepReport
from deepchest_cli.training.resume import load_state
from deepchest_cli.training.run_directory import METRICS, WEIGHTS
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.weighting import Performance, TaskLosses

VALIDATION_METRICS = ("loss", "accuracy", "auroc", "average_precision")


@dataclass(frozen=True)
class TrainingSummary:
    """How a run ended; nothing in it comes from the test part."""

    run: Path
    epochs: int
    steps: int
    best_epoch: int
    best_score: float
    criterion: str  # what the best epoch was chosen by
    stopped_early: bool


class Trainer:
    """Trains the model of a `Setup` in the folder of a run."""

    def __init__(self, setup: Setup, folder: Path, observer: Observer) -> None:
        self.setup = setup
        self.folder = folder
        self.observer = observer
        self.position = Position()
        self.record = EpochRecord(len(setup.dataset.findings), setup.device)
        self.take_step = TrainingStep(setup)

    def resume(self) -> None:
        """Take up the folder's last checkpoint; the run goes on as if it had not ended."""
        training = load_state(self.setup, self.folder)
        if training is None:
            return
        try:
            self.position = restore(training, self.setup, self.record)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DeepChestError(
                f"The training state in {self.folder / LAST} is damaged: {error!r}.",
                "Begin a new run.",
            ) from error

    def fit(self) -> TrainingSummary:
        """Train until the last epoch, the last step, or until validation no longer improves.

        Raises `InterruptedRunError` after SIGINT or SIGTERM, with the state saved, and
        `DeepChestError` when a loss is not finite.
        """
        with held(self.folder), stop_on_signal() as stop:
            if self.position.step == 0:
                self._save_last()
            while not self._is_finished():
                started, first = time.perf_counter(), self.position.step
                self._train_epoch(stop)
                images = (self.position.step - first) * self.setup.config.batch_size
                self._end_epoch(images, time.perf_counter() - started)
        position = self.position
        return TrainingSummary(
            run=self.folder,
            epochs=position.epoch,
            steps=position.step,
            best_epoch=position.best_epoch,
            best_score=position.best_score,
            criterion=position.criterion,
            stopped_early=position.step < self.setup.total_steps,
        )

    def _is_finished(self) -> bool:
        position, patience = self.position, self.setup.config.patience
        if position.epoch_step:
            return False  # an epoch under way is always brought to its end
        waited = position.epoch - position.best_epoch
        return position.step >= self.setup.total_steps or 0 < patience <= waited

    def _train_epoch(self, stop: StopRequest) -> None:
        setup, position = self.setup, self.position
        order = epoch_order(setup.training_rows, setup.config.seed, position.epoch)
        order = order[: setup.steps_per_epoch * setup.config.batch_size]
        first = position.epoch_step
        setup.classifier.train()
        for stored in batches(setup.dataset, order, setup.config.batch_size, start=first):
            if position.step >= setup.total_steps:
                return
            batch = stored.to(setup.device)
            losses, logits = self.take_step(batch, position.step, self._place())
            self.record.add(losses, logits, batch.labels, batch.known)
            position.step += 1
            position.epoch_step += 1
            self.observer.on_step(self._step_report(losses))
            if stop.exit_code is not None:
                self._stop(stop)

    def _place(self) -> str:
        return f"batch {self.position.epoch_step + 1} of epoch {self.position.epoch + 1}"

    def _step_report(self, losses: TaskLosses) -> StepReport:
        return StepReport(
            epoch=self.position.epoch + 1,
            epochs=self.setup.config.epochs,
            step=self.position.epoch_step,
            steps=self.setup.steps_per_epoch,
            remaining=self.setup.total_steps - self.position.step,
            losses=losses.values.detach(),
            weights=self.setup.weighter.weights,
        )

    def _end_epoch(self, images: int, seconds: float) -> None:
        """Validate, let the weighter learn from it, and save: the best first, the state last."""
        setup, position = self.setup, self.position
        used = setup.weighter.weights
        performance = Performance(self.record.performance(), self._validate())
        for note in setup.weighter.end_epoch(performance):
            self.observer.on_note(note)
        position.end_epoch(*_score(performance))
        report = EpochReport(
            epoch=position.epoch,
            epochs=setup.config.epochs,
            training=dict(performance.training),
            validation=dict(performance.validation),
            weights=used,
            best=position.best_epoch == position.epoch,
            seconds=seconds,
            images_per_second=images / seconds,
        )
        self.record = EpochRecord(len(setup.dataset.findings), setup.device)
        self._write(report)
        self.observer.on_epoch(report)

    def _validate(self) -> dict[str, Tensor]:
        setup = self.setup
        predictions = predict_rows(
            setup.classifier,
            setup.dataset,
            setup.validation_rows,
            setup.config.batch_size,
            setup.device,
        )
        return {
            metric: torch.from_numpy(per_finding(metric, predictions))
            for metric in VALIDATION_METRICS
        }

    def _write(self, report: EpochReport) -> None:
        findings = self.setup.dataset.findings
        self.position.add_row(report, findings, float(self.setup.schedule.get_last_lr()[0]))
        if report.best:
            origin = {
                **self.setup.origin(),
                "epoch": report.epoch,
                "validation": {m: report.macro("validation", m) for m in VALIDATION_METRICS},
            }
            save_checkpoint(self.folder / BEST, self.setup.classifier, origin)
        self._write_table(METRICS, self.position.metrics)
        if self.position.weights:
            self._write_table(WEIGHTS, self.position.weights)
        self._save_last()

    def _write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        write_text(self.folder / name, to_csv(list(rows[0]), rows))

    def _save_last(self) -> None:
        origin = {**self.setup.origin(), "epoch": self.position.epoch}
        state = snapshot(self.position, self.setup, self.record)
        save_checkpoint(self.folder / LAST, self.setup.classifier, origin, state)

    def _stop(self, stop: StopRequest) -> None:
        assert stop.exit_code is not None
        self._save_last()
        raise InterruptedRunError(
            f"Interrupted after step {self.position.step}; the state is saved.",
            f"Go on with: deepchest train --resume {self.folder}",
            stop.exit_code,
        )


def _score(performance: Performance) -> tuple[float, str]:
    """Return what the best epoch is chosen by: macro AUROC, or minus the loss without one."""
    auroc = macro(performance.validation["auroc"].numpy())
    if math.isnan(auroc):
        return -macro(performance.validation["loss"].numpy()), "minus validation loss"
    return auroc, "validation AUROC"

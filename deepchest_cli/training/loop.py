"""The training loop, to be read from top to bottom."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepchest_cli.data.augmentation import Augmentation, augment, normalise, to_grey
from deepchest_cli.data.batches import Batch, batches, epoch_order
from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.files import held
from deepchest_cli.model.checkpoint import BEST, LAST, save_checkpoint
from deepchest_cli.training.epoch_record import EpochRecord
from deepchest_cli.training.interruption import StopRequest, stop_on_signal
from deepchest_cli.training.losses import task_losses
from deepchest_cli.training.position import Position, restore, snapshot
from deepchest_cli.training.progress import EpochReport, Observer, StepReport
from deepchest_cli.training.resume import load_state
from deepchest_cli.training.run_directory import METRICS, WEIGHTS, write_table
from deepchest_cli.training.setup import Setup
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
        self.augmentation = Augmentation(flip=setup.config.flip) if setup.config.augment else None

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
        for batch in batches(setup.dataset, order, setup.config.batch_size, start=first):
            if position.step >= setup.total_steps:
                return
            losses = self._train_step(batch.to(setup.device))
            position.step += 1
            position.epoch_step += 1
            self.observer.on_step(self._step_report(losses))
            if stop.exit_code is not None:
                self._stop(stop)

    def _train_step(self, batch: Batch) -> TaskLosses:
        setup = self.setup
        radiographs = self._network_input(batch)
        logits = self._logits(radiographs)
        losses = task_losses(logits, batch.labels, batch.known)
        self._refuse_non_finite(losses)
        setup.weighter.observe(logits.detach(), batch.labels, batch.known)
        objective = setup.weighter(losses)
        setup.optimizer.zero_grad(set_to_none=True)
        objective.backward()
        setup.optimizer.step()
        setup.schedule.step()
        setup.weighter.after_step(lambda: self._recompute(radiographs, batch))
        self.record.add(losses, logits.detach(), batch.labels, batch.known)
        return losses

    def _logits(self, radiographs: Tensor) -> Tensor:
        low = self.setup.precision == "bf16"
        with torch.autocast(self.setup.device.type, torch.bfloat16, enabled=low):
            logits: Tensor = self.setup.classifier(radiographs)[1]
        return logits

    def _network_input(self, batch: Batch) -> Tensor:
        architecture = self.setup.classifier.architecture
        grey = to_grey(batch.images, architecture.image_size)
        if self.augmentation is not None:
            # seeded by the step, so that nothing has to be remembered between steps
            words = [self.setup.config.seed, self.position.step]
            seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
            grey = augment(grey, self.augmentation, torch.Generator().manual_seed(seed))
        return normalise(grey, architecture.normalisation)

    @torch.no_grad()
    def _recompute(self, radiographs: Tensor, batch: Batch) -> TaskLosses:
        """Return the losses of the same batch after the update, computed as before it; batch-norm
        statistics and random states are put back.
        """
        classifier, device = self.setup.classifier, self.setup.device
        before = [buffer.clone() for buffer in classifier.buffers()]
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            losses = task_losses(self._logits(radiographs), batch.labels, batch.known)
        for buffer, value in zip(classifier.buffers(), before, strict=True):
            buffer.copy_(value)
        return losses

    def _refuse_non_finite(self, losses: TaskLosses) -> None:
        wrong = ~torch.isfinite(losses.values)
        if wrong.any():
            names = [f for f, bad in zip(self.setup.dataset.findings, wrong, strict=True) if bad]
            raise DeepChestError(
                f"The loss of {', '.join(names)} is not finite in batch "
                f"{self.position.epoch_step + 1} of epoch {self.position.epoch + 1}.",
                f"Lower --learning-rate; the last good state is in {self.folder / LAST}.",
            )

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
        write_table(self.folder / METRICS, self.position.metrics)
        if self.position.weights:
            write_table(self.folder / WEIGHTS, self.position.weights)
        self._save_last()

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

"""The training loop, to be read from top to bottom."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
import torch

from deepchest_cli.data.batches import ahead, batches, epoch_order
from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.evaluation.metrics import macro, per_finding
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.files import held, sweep_held
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint import LAST
from deepchest_cli.model.weights import fingerprint
from deepchest_cli.training.epoch_record import EpochRecord
from deepchest_cli.training.failures import explain
from deepchest_cli.training.familiarity import describe_training_images
from deepchest_cli.training.position import Position, restore
from deepchest_cli.training.progress import EpochReport, Observer, StepReport
from deepchest_cli.training.propagation import Outcome
from deepchest_cli.training.resources import Clock, peak_memory
from deepchest_cli.training.resume import load_state
from deepchest_cli.training.run_directory import OWN
from deepchest_cli.training.saving import VALIDATION_METRICS, RunFiles
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.watch import LossWatch
from deepchest_cli.weighting import Performance


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
    initial_weights: str  # SHA-256 of the model as the run found it
    batches: tuple[str, ...]  # SHA-256 of the rows of all batches until each epoch's end


class Trainer:
    """Trains the model of a `Setup` in the folder of a run.

    With several processes each has a trainer; the first one alone writes into the folder.
    """

    def __init__(self, setup: Setup, folder: Path, observer: Observer) -> None:
        self.setup = setup
        self.folder = folder
        self.observer = observer
        self.position = Position()
        self._begin_record()
        self.files = RunFiles(setup, folder)
        self.take_step = TrainingStep(setup)

    def _begin_record(self) -> None:
        findings = self.setup.dataset.findings
        self.record = EpochRecord(len(findings), self.setup.device)
        self.watch = LossWatch(findings, self.setup.device)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        position, patience = self.position, self.setup.config.patience
        if position.epoch_step:
            return False  # an epoch under way is always brought to its end
        waited = position.epoch - position.best_epoch
        return position.step >= self.setup.total_steps or 0 < patience <= waited

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

        Raises `InterruptedRunError` after a signal to any process, with the state saved,
        `DivergedError` when a loss is not finite, and `DeepChestError` when memory runs out or a
        process is lost.
        """
        ranks = self.setup.ranks
        try:
            with held(self.folder) if ranks.is_first else nullcontext(), stop_on_signal() as stop:
                return self._fit(stop)
        except RuntimeError as error:
            by_parameters = self.setup.config.gradient_level == "parameters"
            explained = explain(error, self.folder, ranks.count, by_parameters)
            if explained is None:
                raise
            raise explained from error

    def _fit(self, stop: StopRequest) -> TrainingSummary:
        if self.setup.ranks.is_first:
            sweep_held(self.folder, OWN)
        if self.position.step == 0:
            self.position.initial_weights = fingerprint(self.setup.classifier.state_dict())
            self.files.save_last(self.position, self.record)
        while not self.is_finished:
            first, clock = self.position.step, Clock()
            self._train_epoch(stop, clock)
            images = (self.position.step - first) * self.setup.config.batch_size
            self._end_epoch(images, clock)
        summary = self._summary()
        if self.setup.ranks.is_first:
            names = ("epochs", "steps", "stopped_early")
            describe_training_images(
                self.setup, self.folder, {name: getattr(summary, name) for name in names}
            )
        self.setup.ranks.wait()
        return summary

    def _summary(self) -> TrainingSummary:
        position = self.position
        return TrainingSummary(
            run=self.folder,
            epochs=position.epoch,
            steps=position.step,
            best_epoch=position.best_epoch,
            best_score=position.best_score,
            criterion=position.criterion,
            stopped_early=position.step < self.setup.total_steps,
            initial_weights=position.initial_weights,
            batches=tuple(position.epoch_batches),
        )

    def _train_epoch(self, stop: StopRequest, clock: Clock) -> None:
        setup, position, size = self.setup, self.position, self.setup.config.batch_size
        order = epoch_order(setup.training_rows, setup.config.seed, position.epoch, setup.chances)
        steps = min(setup.steps_per_epoch, setup.total_steps - position.step + position.epoch_step)
        coming = batches(
            setup.reader, order[: steps * size], size, position.epoch_step, setup.ranks.part
        )
        setup.classifier.train()
        for batch in clock.waiting(ahead(coming)):
            found = self.take_step(batch, position.step)
            self.record.add(found.logits, batch.labels, batch.known)
            self.record.add_weights(found.weights)
            position.end_step(order[position.epoch_step * size :][:size])
            self.watch.see(found.losses.values, position.epoch + 1, position.epoch_step)
            self.observer.on_step(self._step_report(found))
            self._stop_where_asked(stop)

    def _step_report(self, found: Outcome) -> StepReport:
        return StepReport(
            epoch=self.position.epoch + 1,
            epochs=self.setup.config.epochs,
            step=self.position.epoch_step,
            steps=min(
                self.setup.steps_per_epoch,
                self.setup.total_steps - self.position.step + self.position.epoch_step,
            ),
            remaining=self.setup.total_steps - self.position.step,
            losses=found.losses.values,
            weights=found.weights,
        )

    def _end_epoch(self, images: int, clock: Clock) -> None:
        """Validate, let the weighter learn from it, and save: the best first, the state last."""
        setup, position = self.setup, self.position
        self.watch.look(position.epoch + 1)
        self.files.save_last(position, self.record)  # validating may outlast the patience of a kill
        seconds, used = clock.seconds, self.record.mean_weights()
        performance = self._performance()
        for note in setup.weighter.end_epoch(performance):
            position.notes.append(note)
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
            waiting=clock.waited / seconds,
            peak_memory=peak_memory(setup.device),
        )
        self._begin_record()
        warning = self.files.write_epoch(report, position, self.record)
        if warning:
            self.observer.on_warning(warning)
        self.observer.on_epoch(report)

    def _performance(self) -> Performance:
        """Return the epoch's training figures, and those of the judged model in validation."""
        predictions = self._predict_validation()
        validation = {
            metric: torch.from_numpy(per_finding(metric, predictions))
            for metric in VALIDATION_METRICS
        }
        known = predictions.known.sum(axis=0, dtype=np.int64)
        positives = (predictions.labels * predictions.known).sum(axis=0, dtype=np.int64)
        counts = np.stack([positives, known - positives])
        return Performance(self.record.performance(), validation, torch.from_numpy(counts))

    def _predict_validation(self) -> Predictions:
        """Let each process read its part; all see the whole."""
        setup, ranks = self.setup, self.setup.ranks
        ranks.same_buffers(setup.judged)
        rows = setup.validation_rows
        mine = np.array_split(rows, ranks.count)[ranks.rank]
        found = predict_rows(setup.judged, setup.reader, mine, setup.micro_batch)
        return found.joined(ranks.gather_table)

    def _stop_where_asked(self, stop: StopRequest) -> None:
        """Save and end where any process has been asked to."""
        ranks = self.setup.ranks
        code = ranks.largest(stop.exit_code or 0)
        if not code:
            return
        self.watch.look(self.position.epoch + 1)
        self.files.save_last(self.position, self.record)
        ranks.wait()  # the launcher ends the others as soon as one has ended
        raise InterruptedRunError(
            f"Interrupted after step {self.position.step}; the state is saved.",
            f"Go on with: deepchest train --resume {quote(str(self.folder))}",
            code,
        )


def _score(performance: Performance) -> tuple[float, str]:
    """Return what the best epoch is chosen by: macro AUROC, or minus the loss without one."""
    auroc = macro(performance.validation["auroc"].numpy())
    if math.isnan(auroc):
        return -macro(performance.validation["loss"].numpy()), "minus validation loss"
    return auroc, "validation AUROC"

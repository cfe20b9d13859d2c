"""The training loop, to be read from top to bottom."""

import gc
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

import numpy as np

from deepchest_cli.data.batches import Batch, batches, prefetch
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UnreadableShardError
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.files import locked, sweep_locked
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.model.weights import fingerprint
from deepchest_cli.own_code import failure_of_own
from deepchest_cli.training.atypicality import store_training_statistics
from deepchest_cli.training.backward import StepResult
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.device import peak_memory
from deepchest_cli.training.failures import FiniteLossCheck, explain
from deepchest_cli.training.losses import cross_entropy
from deepchest_cli.training.progress import Clock, EpochReport, Observer, StepReport
from deepchest_cli.training.resume import load_state
from deepchest_cli.training.run_directory import OWN, RunWriter, resume_command
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.summary import TrainingSummary, summarize
from deepchest_cli.training.train_state import EpochMetrics, TrainState, restore
from deepchest_cli.training.validation import Validation, validate
from deepchest_cli.weighting import Performance

UNREADABLE = 1  # exit code for data that can no longer be read, below those for signals


class Trainer:
    """Trains a model in the folder of a run.

    With several processes each has a trainer; only the main process writes into the folder.
    """

    def __init__(self, components: TrainingComponents, folder: Path, *observers: Observer) -> None:
        self.components = components
        self.folder = folder
        self.observers = observers
        self.state = TrainState()
        self._reset_epoch()
        self.writer = RunWriter(components, folder)
        self.training_step = TrainingStep(components)

    def _reset_epoch(self) -> None:
        tasks, device = self.components.tasks, self.components.device
        self.epoch_metrics = EpochMetrics(self.components.task_shape, device)
        self.finite_losses = FiniteLossCheck(tasks.names, device)

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to train."""
        state, patience = self.state, self.components.config.patience
        if state.epoch_step:
            return False  # an epoch that has begun is always finished
        without_improvement = state.epoch - state.best_epoch
        return state.step >= self.components.total_steps or 0 < patience <= without_improvement

    def resume(self) -> None:
        """Restore the folder's last checkpoint; the run continues as if it had not ended."""
        training = load_state(self.components, self.folder)
        if training is None:
            return
        try:
            self.state = restore(training, self.epoch_metrics, self.components)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DeepChestError(
                f"The training state in {self.folder / LAST} is damaged: {error!r}.",
                "Start a new run.",
            ) from error

    def fit(self) -> TrainingSummary:
        """Train until the last epoch, the last step, or until validation no longer improves.

        Raises `InterruptedRunError` after a signal to any process, with the state saved,
        `UnreadableShardError` when a file of the data is gone, likewise, `DivergedError` when a
        loss is not finite, and `DeepChestError` when memory runs out, a process is lost or a
        weighter of one's own fails.
        """
        distributed = self.components.distributed
        lock = locked(self.folder) if distributed.is_main else nullcontext()
        try:
            with lock, stop_on_signal() as stop:
                return self._fit(stop)
        except UnreadableShardError as error:
            resume = resume_command(self.folder, self.components.config)
            hint = f"{error.hint} Then resume with: {resume}"
            raise UnreadableShardError(error.message, hint) from error
        except DeepChestError:
            raise
        except (Exception, SystemExit) as error:  # a weighter of one's own may raise either
            config, explained = self.components.config, None
            if isinstance(error, RuntimeError):
                explained = explain(error, self.folder, distributed.world_size, config)
            explained = explained or failure_of_own(error)
            if explained is None:
                raise
            raise explained from error

    def _fit(self, stop: StopRequest) -> TrainingSummary:
        components, state = self.components, self.state
        if components.distributed.is_main:
            sweep_locked(self.folder, OWN)
        if state.step == 0:
            state.initial_weights = fingerprint(components.classifier.state_dict())
            self.writer.save_last(state, self.epoch_metrics)
        while not self.is_finished:
            first, clock = state.step, Clock()
            self._train_epoch(stop, clock)
            self._end_epoch((state.step - first) * components.config.batch_size, clock)
        summary = summarize(components, state, self.folder)
        if components.distributed.is_main:
            run = {name: getattr(summary, name) for name in ("epochs", "steps", "stopped_early")}
            if summary.learning_rate is not None:
                run["learning_rate"] = summary.learning_rate
            store_training_statistics(components, self.folder, run)
        components.distributed.barrier()
        return summary

    def _train_epoch(self, stop: StopRequest, clock: Clock) -> None:
        components, state = self.components, self.state
        size, distributed = components.config.batch_size, components.distributed
        order = components.sampling.order(components.config.seed, state.epoch)
        rows = order[: self._epoch_steps() * size]
        shard = (distributed.rank, distributed.world_size)
        epoch_batches = batches(components.reader, rows, size, state.epoch_step, shard)
        if components.frozen.begin_epoch(components.network, state.epoch + 1):
            self._renew_step()
        coming = clock.time_waits(prefetch(epoch_batches))
        while (batch := self._next_batch(coming, stop)) is not None:
            result = self.training_step(batch, state.step)
            plain = result.losses if components.label_loss is cross_entropy else None
            labels = batch.labels, batch.known
            self.epoch_metrics.add(result.logits, *labels, result.weights, plain)
            state.end_step(order[state.epoch_step * size :][:size])
            self.finite_losses.add(result.losses.values, state.epoch + 1, state.epoch_step)
            for observer in self.observers:
                observer.on_step(self._step_report(result))

    def _next_batch(self, coming: Iterator[Batch], stop: StopRequest) -> Batch | None:
        """Return the next batch of an epoch; None: there is none.

        Where any process has received a signal or can no longer read the data, all of them save
        the state and stop.
        """
        batch, failure = None, None
        try:
            batch = next(coming, None)
        except UnreadableShardError as error:
            failure = error
        own = stop.exit_code or (UNREADABLE if failure else 0)
        code = self.components.distributed.maximum(own)
        if code:
            self._save_and_stop(code, failure)
        return batch

    def _renew_step(self) -> None:
        """Begin to train other parameters: torch chooses those that it averages at the start."""
        del self.training_step
        gc.collect()  # or what averaged the others would still answer to their gradients
        self.training_step = TrainingStep(self.components)

    def _epoch_steps(self) -> int:
        """Return the steps of the current epoch: fewer where the run ends within it."""
        left = self.components.total_steps - self.state.step + self.state.epoch_step
        return min(self.components.steps_per_epoch, left)

    def _step_report(self, result: StepResult) -> StepReport:
        return StepReport(
            epoch=self.state.epoch + 1,
            epochs=self.components.config.epochs,
            step=self.state.epoch_step,
            steps=self._epoch_steps(),
            remaining=self.components.total_steps - self.state.step,
            losses=result.losses.values,
            weights=result.weights,
        )

    def _end_epoch(self, images: int, clock: Clock) -> None:
        """Validate, update the weighter, and save: the best first, the state last."""
        components, state = self.components, self.state
        self.finite_losses.check(state.epoch + 1)
        self.writer.save_last(state, self.epoch_metrics)  # in case the validation is killed
        seconds, weights = clock.seconds, self.epoch_metrics.mean_weights()
        validations = self._validate()
        for note in components.weighter.end_epoch(self._performance(validations)):
            state.notes.append(note)
            for observer in self.observers:
                observer.on_note(note)
        head, learning_rate = self._best_head(validations)
        validation, training = validations[head], self.epoch_metrics.of_findings(components.tasks)
        task_loss = self.epoch_metrics.performance()["loss"]
        if components.heads is not None:
            training = {name: values[head] for name, values in training.items()}
            task_loss = task_loss[head]
            weights = None if weights is None else weights[head]
        state.end_epoch(validation.score, validation.criterion, learning_rate)
        report = EpochReport(
            epoch=state.epoch,
            epochs=components.config.epochs,
            training=training,
            validation=dict(validation.pooled),
            sources={
                n: dict(own) for n, own in validation.sources.items() if len(validation.sources) > 1
            },
            task_loss=task_loss,
            task_auroc=validation.tasks["auroc"],
            weights=weights,
            score=validation.score,
            best=state.best_epoch == state.epoch,
            seconds=seconds,
            images_per_second=images / seconds,
            data_wait_fraction=clock.waited / seconds,
            peak_memory=peak_memory(components.device),
            peak_learning_rate=learning_rate,
        )
        self._reset_epoch()
        warning = self.writer.write_epoch(report, state, self.epoch_metrics)
        for observer in self.observers:
            if warning:
                observer.on_warning(warning)
            observer.on_epoch(report)

    def _validate(self) -> list[Validation]:
        """Return the evaluated model's metrics; of a linear probe, those of each head."""
        components = self.components
        return [validate(components.dataset, components.tasks, self._predict_validation())]

    def _performance(self, validations: list[Validation]) -> Performance:
        """Return what the weighter receives."""
        return validations[0].performance(self.epoch_metrics.performance())

    def _best_head(self, validations: list[Validation]) -> tuple[int, float | None]:
        """Return which head stands for the epoch, and of a linear probe its learning rate."""
        return 0, None

    def _predict_validation(self) -> Predictions:
        """Predict the validation split; each process computes a piece, all get the whole."""
        components, distributed = self.components, self.components.distributed
        model = components.evaluated_model
        distributed.broadcast_buffers(model)
        pieces = np.array_split(components.validation_rows, distributed.world_size)
        local, size = pieces[distributed.rank], components.micro_batch_size
        predictions = predict_rows(model, components.reader, local, size)
        return predictions.joined(distributed.all_gather_rows)

    def _save_and_stop(self, code: int, failure: UnreadableShardError | None) -> NoReturn:
        """Save the state and raise; `failure` is this process's own."""
        self.finite_losses.check(self.state.epoch + 1)
        self.writer.save_last(self.state, self.epoch_metrics)
        # the launcher ends the others as soon as one has ended
        self.components.distributed.barrier()
        saved = f"after step {self.state.step}; the state is saved."
        if code == UNREADABLE:
            message = failure.message if failure else "Another process cannot read the data."
            hint = failure.hint if failure else "Its own error stands above or below."
            raise UnreadableShardError(f"{message} This was {saved}", hint)
        raise InterruptedRunError(
            f"Interrupted {saved}",
            f"Resume with: {resume_command(self.folder, self.components.config)}",
            code,
        )

"""The training loop, to be read from top to bottom."""

import gc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.errors import DeepChestError, InterruptedRunError, UnreadableShardError
from deepchest_cli.evaluation.predictions import predict_rows
from deepchest_cli.files import locked, sweep_locked
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.model.weights import fingerprint
from deepchest_cli.own_code import failure_of_own
from deepchest_cli.training.agreement import FAILED, Agreement, StoppedError
from deepchest_cli.training.atypicality import statistics_batches, store_training_statistics
from deepchest_cli.training.backward import StepResult
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.device import peak_memory
from deepchest_cli.training.failures import FiniteLossCheck, explain
from deepchest_cli.training.progress import Clock, EpochReport, Observer, StepReport
from deepchest_cli.training.resume import load_state
from deepchest_cli.training.run_directory import OWN, RunWriter, resume_command
from deepchest_cli.training.step import TrainingStep
from deepchest_cli.training.summary import TrainingSummary, summarize
from deepchest_cli.training.train_state import EpochMetrics, TrainState, restore
from deepchest_cli.training.validation import Validation, count_patients, validate
from deepchest_cli.weighting import Performance
from deepchest_cli.weighting.losses import cross_entropy


class Trainer:
    """Trains a model in the folder of a run.

    With several processes each has a trainer; only the main process writes into the folder.
    """

    def __init__(
        self,
        components: TrainingComponents,
        folder: Path,
        *observers: Observer,
        is_locked: bool = False,
    ) -> None:
        """is_locked: whether the caller keeps the folder for this run."""
        self.components = components
        self.is_locked = is_locked
        self.folder = folder
        self.observers = observers
        self.state = TrainState()
        self.patients = count_patients(components.dataset, components.tasks)
        self._reset_epoch()
        self.writer = RunWriter(components, folder)
        self.training_step = TrainingStep(components)
        self.agreement = Agreement(components.distributed, StopRequest(), components.device)

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
            said = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            raise DeepChestError(
                f"The training state in {self.folder / LAST} is damaged: {said}.",
                "Start a new run, or resume with the version of deepchest that began this one.",
            ) from error

    def fit(self) -> TrainingSummary:
        """Train until the last epoch, the last step, or until validation no longer improves.

        Raises `InterruptedRunError` after a signal to any process, with the state saved,
        `UnreadableShardError` when a file of the data is gone, likewise, `DivergedError` when a
        loss is not finite, and `DeepChestError` when memory runs out, a process fails or is lost,
        or a weighter of one's own fails.
        """
        with stop_on_signal() as stop, ExitStack() as held:
            self.agreement.stop = stop
            try:
                with self.agreement.together(heed=False):
                    if self.components.distributed.is_main:
                        if not self.is_locked:
                            held.enter_context(locked(self.folder))
                        sweep_locked(self.folder, OWN)
                return self._fit()
            except StoppedError as stopped:
                if stopped.code == FAILED:
                    failure = stopped.failure and self._explained(stopped.failure)
                    self.agreement.raise_failure(failure)
                raise InterruptedRunError(
                    f"Interrupted {self._saved}",
                    f"Resume with: {resume_command(self.folder, self.components.config)}",
                    stopped.code,
                ) from None
            except (Exception, SystemExit) as error:  # code of one's own may raise either
                explained = self._explained(error)
                raise explained from explained.__cause__

    def _explained(self, error: BaseException) -> BaseException:
        """Return the error to show for one that has ended the run."""
        config = self.components.config
        explained: DeepChestError | None = None
        if isinstance(error, UnreadableShardError):
            hint = f"{error.hint} Then resume with: {resume_command(self.folder, config)}"
            explained = UnreadableShardError(f"{error.message} This was {self._saved}", hint)
        elif isinstance(error, DeepChestError):
            return error
        elif isinstance(error, RuntimeError):
            explained = explain(error, self.folder, self.components.distributed.world_size, config)
        explained = explained or failure_of_own(error)
        if explained is None:
            return error
        explained.__cause__ = error
        return explained

    @property
    def _saved(self) -> str:
        return f"after step {self.state.step}; the state is saved."

    def _fit(self) -> TrainingSummary:
        components, state = self.components, self.state
        if state.step == 0:
            with self.agreement.together():
                state.initial_weights = fingerprint(components.classifier.state_dict())
                self.writer.save_last(state, self.epoch_metrics)
        while not self.is_finished:
            first, clock = state.step, Clock()
            self._train_epoch(clock)
            self._end_epoch((state.step - first) * components.config.batch_size, clock)
        summary = summarize(components, state, self.folder)
        with self.agreement.together(statistics_batches(components)) as check:
            if components.distributed.is_main:
                run = {
                    name: getattr(summary, name) for name in ("epochs", "steps", "stopped_early")
                }
                if summary.learning_rate is not None:
                    run["learning_rate"] = summary.learning_rate
                store_training_statistics(components, self.folder, run, check)
        return summary

    def _train_epoch(self, clock: Clock) -> None:
        components, state = self.components, self.state
        size, distributed = components.config.batch_size, components.distributed
        order = components.sampling.order(components.config.seed, state.epoch)
        rows = order[: self._epoch_steps() * size]
        shard = (distributed.rank, distributed.world_size)
        epoch_batches = batches(components.reader, rows, size, state.epoch_step, shard)
        if components.frozen.begin_epoch(components.network, state.epoch + 1):
            self._renew_step()
        coming = clock.time_waits(prefetch(epoch_batches))
        try:
            for batch in self.agreement.batches(coming):
                result = self.training_step(batch, state.step)
                plain = result.losses if components.label_loss is cross_entropy else None
                labels = batch.labels, batch.known
                self.epoch_metrics.add(result.logits, *labels, result.weights, plain)
                state.end_step(order[state.epoch_step * size :][:size])
                self.finite_losses.add(result.losses.values, state.epoch + 1, state.epoch_step)
                for observer in self.observers:
                    observer.on_step(self._step_report(result))
        except StoppedError:
            with self.agreement.together(heed=False):
                self.finite_losses.check(state.epoch + 1)
                self.writer.save_last(state, self.epoch_metrics)
            raise

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
        components.distributed.broadcast_buffers(components.evaluated_model)
        with self.agreement.together(components.validation_batches) as check:
            self.finite_losses.check(state.epoch + 1)  # waits for what the clock has to measure
            seconds = clock.seconds
            # in case that the validation is killed, fails or is interrupted
            with self.writer.saving_last(state, self.epoch_metrics):
                predicted = self._predict_validation(check)
        with self.agreement.together():
            self._finish_epoch(self._validate(predicted), images, seconds, clock.waited)

    def _finish_epoch(
        self, validations: list[Validation], images: int, seconds: float, waited: float
    ) -> None:
        """Do the rest; `images` were trained in `seconds`, of which `waited` were for data."""
        components, state = self.components, self.state
        weights = self.epoch_metrics.mean_weights()
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
        keep = components.config.keep
        state.end_epoch(validation.score, validation.criterion, learning_rate, keep)
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
            data_wait_fraction=waited / seconds,
            peak_memory=peak_memory(components.device),
            peak_learning_rate=learning_rate,
            keep=keep,
        )
        self._reset_epoch()
        warning = self.writer.write_epoch(report, state, self.epoch_metrics)
        for observer in self.observers:
            if warning:
                observer.on_warning(warning)
            observer.on_epoch(report)

    def _predict_validation(self, check: Callable[..., None]) -> Any:
        """Return this process's predictions, a piece of the validation split's."""
        components = self.components
        rank, size = components.distributed.rank, components.micro_batch_size
        rows = np.array_split(components.validation_rows, components.distributed.world_size)[rank]
        return predict_rows(components.evaluated_model, components.reader, rows, size, check)

    def _validate(self, predicted: Any) -> list[Validation]:
        """Return the evaluated model's metrics; of a linear probe, those of each head."""
        components = self.components
        predictions = predicted.joined(components.distributed.all_gather_rows)
        return [validate(components.dataset, components.tasks, predictions)]

    def _performance(self, validations: list[Validation]) -> Performance:
        """Return what the weighter receives."""
        return validations[0].performance(self.epoch_metrics.performance(), self.patients)

    def _best_head(self, validations: list[Validation]) -> tuple[int, float | None]:
        """Return which head stands for the epoch, and of a linear probe its learning rate."""
        return 0, None

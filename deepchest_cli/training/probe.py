"""The linear probe: heads trained on the features of a frozen trunk, at several learning rates.

The training loop is that of any run; R heads take each of its steps side by side. Features are read
instead of images, losses and metrics have a row for each head (R, T), and an epoch is
reported by its best head, which the classifier then has.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader, resolve_place
from deepchest_cli.errors import DivergedError, InterruptedRunError
from deepchest_cli.evaluation.metrics import macro
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.interruption import StopRequest
from deepchest_cli.model.logistic import sigmoid
from deepchest_cli.training.backward import StepResult
from deepchest_cli.training.checks import refuse_unfit_probe
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.distributed import DistributedContext
from deepchest_cli.training.feature_cache import FeatureCache
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.optimization import optimizer_of, parameter_groups
from deepchest_cli.training.probe_heads import (
    RATE_FACTORS,
    FeatureReader,
    ProbeHeads,
    ProbePerformance,
    ProbeWeighter,
)
from deepchest_cli.training.progress import Observer, StepReport
from deepchest_cli.training.run_directory import resume_command
from deepchest_cli.training.summary import TrainingSummary
from deepchest_cli.training.validation import Validation, validate
from deepchest_cli.weighting.base import LossWeighter, TaskLosses

MAX_BATCH = 64  # radiographs that the trunk takes at a time


def build_probe(
    config: TrainConfig,
    distributed: DistributedContext | None = None,
    resumed: bool = False,
    dataset: RadiographDataset | None = None,
) -> TrainingComponents:
    """Build the components of a linear probe, as `build_components` does those of another run.

    The precision is that of the trunk, by default the one that a model predicts in; the heads are
    trained in fp32. Raises `UsageError` for settings that a probe has no use for.
    """
    refuse_unfit_probe(config, distributed or DistributedContext())
    precision = "fp32" if config.precision == "auto" else config.precision
    given = replace(config, augment="none", precision=precision, cache="none")
    components = build_components(given, distributed, resumed, dataset)
    config = replace(components.config, cache=config.cache)
    classifier, weighter = components.classifier.eval(), components.weighter
    assert isinstance(weighter, LossWeighter)  # or the run has been refused
    rates = tuple(factor * config.learning_rate for factor in RATE_FACTORS)
    heads, weighters = ProbeHeads(classifier.head, rates), ProbeWeighter(weighter, len(rates))
    groups = [
        {**group, "lr_scale": factor}
        for factor, head, own in zip(RATE_FACTORS, heads.heads, weighters.copies, strict=True)
        for group in parameter_groups(head, own, config)  # type: ignore[arg-type]
    ]
    rows = len(components.training_rows) + len(components.validation_rows)
    needed = rows * len(heads.mean) * np.dtype(np.float32).itemsize
    place = resolve_place(config.cache, needed, components.device)
    return replace(
        components,
        config=config,
        reader=FeatureReader(
            components.dataset,
            components.device,
            place,
            len(rates),
            components.tasks.labels(components.dataset),
        ),
        precision="fp32",
        heads=heads,
        weighter=weighters,
        optimizer=optimizer_of(groups, config),
        scaler=torch.amp.GradScaler(components.device.type, enabled=False),
    )


class ProbeTrainer(Trainer):
    """Trains the heads of a linear probe; `features` is the folder that keeps features."""

    def __init__(
        self, components: TrainingComponents, folder: Path, features: Path, *observers: Observer
    ) -> None:
        super().__init__(components, folder, *observers)
        assert components.heads is not None
        self.heads = components.heads
        self.features = features

    def _fit(self) -> TrainingSummary:
        self.load_features(self.agreement.stop)
        summary = super()._fit()
        rates, best = self.heads.rates, summary.learning_rate
        if best in (rates[0], rates[-1]):  # a better one may lie beyond
            factor, end = (0.1, "lowest") if best == rates[0] else (10, "highest")
            for observer in self.observers:
                observer.on_warning(
                    f"The best learning rate, {best:g}, is the {end} of those tried. Try others: "
                    f"--learning-rate {factor * self.components.config.learning_rate:g}"
                )
        return summary

    def load_features(self, stop: StopRequest) -> None:
        """Let the reader have the features; raises `InterruptedRunError` after a signal."""
        components = self.components
        rows = np.sort(np.concatenate([components.training_rows, components.validation_rows]))
        cache = FeatureCache(
            self.features,
            components.classifier,
            ImageReader(components.dataset, components.device),
            rows,
            len(self.heads.mean),
            components.config.precision,  # type: ignore[arg-type]  # resolved
            min(components.config.batch_size, MAX_BATCH),
        )

        def progress(done: int, total: int) -> None:
            if stop.exit_code:
                raise InterruptedRunError(
                    "Interrupted while features are computed; what is complete is kept.",
                    f"Resume with: {resume_command(self.folder, components.config)}",
                    stop.exit_code,
                )
            for observer in self.observers:
                observer.on_features(done, total)

        features = torch.from_numpy(cache.load(self._note, progress))
        reader = components.reader
        assert isinstance(reader, FeatureReader)
        reader.load(features, rows)
        # a product, for which no copy of the training rows is needed
        shares = np.isin(rows, components.training_rows) / len(components.training_rows)
        self.heads.mean.copy_(torch.from_numpy(shares.astype(np.float32)) @ features)

    def _note(self, text: str) -> None:
        for observer in self.observers:
            observer.on_note(text)

    def _step_report(self, result: StepResult) -> StepReport:
        """Report the losses and weights of the best head so far."""
        rates, best = self.heads.rates, self.state.learning_rate
        number = len(rates) // 2 if best is None else rates.index(best)
        losses = TaskLosses(result.losses.values[number], result.losses.known[number])
        weights = None if result.weights is None else result.weights[number]
        return super()._step_report(replace(result, losses=losses, weights=weights))

    @torch.inference_mode()
    def _predict_validation(self, check: Callable[..., None]) -> NDArray[np.float32]:
        """Return the logits (V, R, T) of the validation split."""
        self.heads.eval()
        features = self.components.reader.read(self.components.validation_rows)
        return np.asarray(self.heads(features)[1].cpu())

    def _validate(self, predicted: NDArray[np.float32]) -> list[Validation]:
        """Return the metrics of each head, by its logits.

        Raises `DivergedError` where no head has finite logits.
        """
        components = self.components
        dataset, rows = components.dataset, components.validation_rows
        patients = dataset.columns["patient_id"][rows]
        validations = [
            validate(
                dataset,
                components.tasks,
                Predictions(
                    dataset.findings,
                    _probabilities(predicted[:, number]),
                    dataset.labels[rows],
                    dataset.known[rows],
                    patients,
                ),
            )
            for number in range(len(self.heads.rates))
        ]
        if all(math.isnan(one.score) for one in validations):
            raise DivergedError(
                f"The logits of every head are not finite after epoch {self.state.epoch + 1}.",
                "Start a new run with a lower --learning-rate or --weight-decay.",
            )
        return validations

    def _performance(self, validations: list[Validation]) -> ProbePerformance:
        """Return what the weighter of each head receives."""
        training = self.epoch_metrics.performance()
        return ProbePerformance(
            heads=tuple(
                own.performance(
                    {name: values[number] for name, values in training.items()}, self.patients
                )
                for number, own in enumerate(validations)
            )
        )

    def _best_head(self, validations: list[Validation]) -> tuple[int, float | None]:
        """Return the best head and its learning rate, and let the model have it."""
        epoch, rates = self.state.epoch + 1, self.heads.rates
        training = self.epoch_metrics.of_findings(self.components.tasks)["loss"]
        for number, (rate, own) in enumerate(zip(rates, validations, strict=True)):
            row = {"epoch": epoch, "learning_rate": rate}
            row["training_loss"] = macro(training[number].numpy())
            row |= {
                f"validation_{name}": macro(own.pooled[name].numpy()) for name in ("loss", "auroc")
            }
            self.state.learning_rates.append(row)
        best = int(np.nanargmax([own.score for own in validations]))
        self.components.classifier.head.load_state_dict(self.heads.head(best).state_dict())
        return best, rates[best]


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of a head's logits (V, T); NaN where any is not finite."""
    return sigmoid(logits) if np.isfinite(logits).all() else np.full(logits.shape, np.nan)

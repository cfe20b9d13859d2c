"""From a configuration to everything that a training run works with."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from deepchest_cli import __version__
from deepchest_cli.config import TrainConfig, parse_assignments
from deepchest_cli.data.augmentation import Augmentation
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.model.backbones import resolve_backbone
from deepchest_cli.model.classifier import Classifier
from deepchest_cli.model.weights import refuse_absent_weights
from deepchest_cli.training.checks import (
    refuse_unfit_batch,
    refuse_unfit_device,
    refuse_unfit_parts,
    refuse_unfit_weighter,
)
from deepchest_cli.training.device import resolve_device
from deepchest_cli.training.long_tail import balanced_chances, build_loss, counts_of
from deepchest_cli.training.losses import LabelLoss
from deepchest_cli.training.optimization import build_average, build_optimizer
from deepchest_cli.training.parts import (
    build_classifier,
    build_reader,
    choose_augmentation,
    choose_kernels,
)
from deepchest_cli.training.precision import Choice, Precision, Rates, choose_precision
from deepchest_cli.training.ranks import Ranks
from deepchest_cli.training.run_directory import repeatable
from deepchest_cli.weighting import Context, Weighter, build_weighter


@dataclass(frozen=True)
class Setup:
    """The parts of a run, fit together; the run directory is not among them."""

    config: TrainConfig
    ranks: Ranks
    dataset: RadiographDataset
    reader: ImageReader
    training_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    chances: NDArray[np.float64] | None  # of the training rows, under class-balanced sampling
    device: torch.device
    precision: Precision
    rates: Rates | None  # by which the precision was chosen, where that was measured
    augmentation: Augmentation | None
    classifier: Classifier
    average: AveragedModel | None  # of the classifier's weights over the steps
    label_loss: LabelLoss
    weighter: Weighter
    optimizer: Optimizer
    scaler: torch.amp.GradScaler  # passes everything through unless in fp16

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch; what is left over is left out."""
        return len(self.training_rows) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Steps that the run is planned for."""
        planned = self.steps_per_epoch * self.config.epochs
        return min(planned, self.config.max_steps or planned)

    @property
    def micro_batch(self) -> int:
        """Radiographs that this process's device computes at a time."""
        return micro_batch(self.config, self.ranks)

    @property
    def judged(self) -> Classifier:
        """The model that is validated and kept: the average where there is one."""
        if self.average is None:
            return self.classifier
        module: Classifier = self.average.module  # type: ignore[assignment]
        return module

    def origin(self) -> dict[str, Any]:
        """Return where a model of this run comes from, in values that a checkpoint can hold."""
        config = {
            key: str(value) if isinstance(value, Path) else value
            # what it computes, and so the same for a run that was interrupted
            for key, value in asdict(repeatable(self.config)).items()
        }
        manifest = self.dataset.manifest
        return {
            "deepchest": __version__,
            "weighter": self.config.weighter,
            "config": {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()},
            "data_sha256": self.dataset.sha256,
            "source": manifest["source"],
            "settings": manifest["settings"],
        }


def micro_batch(config: TrainConfig, ranks: Ranks) -> int:
    """Return how many radiographs of a step one device computes at a time."""
    return max(config.batch_size // (config.grad_accum_steps * ranks.count), 1)


def set_up(
    config: TrainConfig,
    ranks: Ranks | None = None,
    resumed: bool = False,
    dataset: RadiographDataset | None = None,
    kept_rates: Path | None = None,
) -> Setup:
    """Build a run's parts; the seed fixes the initial weights, unless a run is to be `resumed`.

    `dataset` stands in the place of the one in `config.data`, for other parts or fewer findings.
    `kept_rates` is a file of measured rates, by which the precision `auto` is chosen on a CPU.
    Raises `UsageError` for whatever in the configuration does not fit data or machine.
    """
    ranks = ranks or Ranks()
    device = resolve_device(config.device, ranks.local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what asks for no device by its number then means this one
    config = replace(config, backbone=resolve_backbone(config.backbone))
    refuse_unfit_device(config, ranks, device)
    refuse_unfit_batch(config, ranks)
    refuse_absent_weights(config.backbone, config.weights)
    torch.manual_seed(config.seed)
    choose_kernels(config.deterministic)
    dataset = dataset or open_dataset(config.data)
    options = parse_assignments(config.weighter_option, "--weighter-option")
    rows = {part: dataset.rows(part) for part in ("train", "validation")}
    refuse_unfit_parts(dataset, rows, config)
    labels, known = dataset.labels[rows["train"]], dataset.known[rows["train"]]
    chances = balanced_chances(labels, known) if config.sampling == "balanced" else None
    positives, negatives = counts_of(labels, known, chances)
    prevalence = torch.from_numpy(positives) / torch.from_numpy(positives + negatives)
    context = Context(config.seed, prevalence, config.epochs)
    weighter = build_weighter(config.weighter, dataset.findings, options, context)
    # a run that goes on has all its weights
    initial = replace(config, weights="none") if resumed else config
    classifier = build_classifier(initial, dataset, device)
    refuse_unfit_weighter(config, weighter, classifier)
    choice = Choice("fp32")
    if ranks.is_first:  # processes that measure beside each other would disturb each other
        batch = micro_batch(config, ranks)
        choice = choose_precision(
            config.precision, device, classifier.architecture, batch, kept_rates
        )
    choice = ranks.from_first(choice)
    # with what was chosen here, so that another machine computes the same
    config = replace(config, precision=choice.precision)
    if device.type != "mps":  # Metal has no double precision, which the weights are kept in
        weighter.to(device)
    return Setup(
        config=config,
        ranks=ranks,
        dataset=dataset,
        reader=build_reader(config, dataset, np.concatenate(list(rows.values())), device),
        training_rows=rows["train"],
        validation_rows=rows["validation"],
        chances=chances,
        device=device,
        precision=choice.precision,
        rates=choice.rates,
        augmentation=choose_augmentation(config),
        classifier=classifier,
        average=build_average(classifier, config.ema),
        label_loss=build_loss(config, positives, negatives, device),
        weighter=weighter,
        optimizer=build_optimizer(classifier, weighter, config),
        scaler=torch.amp.GradScaler(device.type, enabled=choice.precision == "fp16"),
    )

"""From a configuration to everything that a training run works with."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from deepchest_cli.config import RUN_CONFIG, TrainConfig, parse_assignments
from deepchest_cli.config.flags import is_own_backbone
from deepchest_cli.data.augmentation import PAPER, Augmentation
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.reader import ImageReader, open_reader
from deepchest_cli.data.sampling import Sampling
from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.base import BackboneSpec
from deepchest_cli.model.backbones.own_function import HASH, run_backbone
from deepchest_cli.model.backbones.registry import describe_backbone, resolve_backbone
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.pretrained import WeightsChoice, choose_weights
from deepchest_cli.training import checks
from deepchest_cli.training.device import reset_peak_memory, resolve_device
from deepchest_cli.training.distributed import DistributedContext
from deepchest_cli.training.freezing import Frozen, frozen_part, refuse_unfit_freezing
from deepchest_cli.training.losses import build_loss
from deepchest_cli.training.optimization import MovingAverage, build_optimizer
from deepchest_cli.training.precision import Precision, PrecisionChoice, Rates, choose_precision
from deepchest_cli.training.probe_heads import ProbeHeads
from deepchest_cli.training.recomputation import recompute_blocks
from deepchest_cli.training.tasks import Tasks
from deepchest_cli.training.training_data import choose_training_data
from deepchest_cli.weighting import Weighter, build_weighter
from deepchest_cli.weighting.losses import LabelLoss
from deepchest_cli.weighting.own import code_of, full_name, own_weighter


@dataclass(frozen=True)
class TrainingComponents:
    """Model, data, optimizer and all else of a run, but for its folder."""

    config: TrainConfig
    distributed: DistributedContext
    dataset: RadiographDataset
    reader: ImageReader
    training_rows: NDArray[np.int64]
    validation_rows: NDArray[np.int64]
    sampling: Sampling  # of the training rows
    tasks: Tasks
    device: torch.device
    precision: Precision
    measured_rates: Rates | None  # by which the precision was chosen
    augmentation: Augmentation | None
    classifier: Classifier
    frozen: Frozen
    ema_model: MovingAverage | None  # exponential moving average of the classifier's weights
    label_loss: LabelLoss
    weighter: Weighter
    optimizer: Optimizer
    scaler: torch.amp.GradScaler  # passes everything through unless in fp16
    warnings: tuple[str, ...] = ()  # of what the configuration could not have
    heads: ProbeHeads | None = None  # of a linear probe, which trains these alone

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch; the remaining images are left out."""
        return len(self.training_rows) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        """Steps that the run is planned for."""
        planned = self.steps_per_epoch * self.config.epochs
        return min(planned, self.config.max_steps or planned)

    @property
    def micro_batch_size(self) -> int:
        """Radiographs that this process's device computes at a time."""
        return micro_batch_size(self.config, self.distributed)

    @property
    def validation_batches(self) -> int:
        """Micro-batches of the validation split that a process predicts, at most."""
        rows = math.ceil(len(self.validation_rows) / self.distributed.world_size)
        return math.ceil(rows / self.micro_batch_size)

    @property
    def network(self) -> nn.Module:
        """What is trained: the classifier, or the heads of a linear probe on given features."""
        return self.classifier if self.heads is None else self.heads

    @property
    def task_shape(self) -> tuple[int, ...]:
        """The shape of the losses of a step: (K,), or (R, K) for R heads of a linear probe."""
        tasks = len(self.tasks.names)
        return (tasks,) if self.heads is None else (len(self.heads.rates), tasks)

    @property
    def evaluated_model(self) -> Classifier:
        """The model that is validated and saved as the best: the EMA model where there is one."""
        if self.ema_model is None:
            return self.classifier
        module: Classifier = self.ema_model.module  # type: ignore[assignment]
        return module


def micro_batch_size(config: TrainConfig, distributed: DistributedContext) -> int:
    """Return how many radiographs of a step one device computes at a time."""
    return max(config.batch_size // (config.grad_accum_steps * distributed.world_size), 1)


def build_components(
    config: TrainConfig,
    distributed: DistributedContext | None = None,
    resumed: bool = False,
    dataset: RadiographDataset | None = None,
    rates_file: Path | None = None,
) -> TrainingComponents:
    """Build the components of a run; the seed fixes the initial weights unless `resumed`.

    `dataset` replaces the one in `config.data`, for other splits or fewer findings. `rates_file`
    keeps measured rates, by which the precision `auto` is chosen on a CPU. Raises `UsageError` for
    whatever in the configuration does not fit data or machine.
    """
    distributed = distributed or DistributedContext()
    device = resolve_device(config.device, distributed.local_rank)
    config = _with_backbone(config)
    checks.refuse_unfit_device(config, distributed, device)
    checks.refuse_unfit_batch(config, distributed)
    refuse_unfit_freezing(config)
    _configure_torch(config, device)
    data = choose_training_data(config, dataset or open_datasets(config.data), device)
    dataset, tasks = data.dataset, data.tasks
    options = parse_assignments(config.weighter_option, "--weighter-option")
    weighter = build_weighter(
        config.weighter, tasks.names, options, data.context(config), config.weighter_sha256
    )
    config = _with_code(config)
    checks.refuse_unlike_processes(config, distributed, dataset)
    checks.refuse_broken_weighter(config, tasks.names, options)
    architecture = _architecture(config, dataset, resumed)
    chosen = WeightsChoice(config.weights)  # a resumed run loads all its weights
    if not resumed:
        chosen = _choose_weights(architecture.spec, config, distributed)
        config = replace(config, weights=chosen.name, weights_sha256=chosen.sha256)
    torch.manual_seed(config.seed)  # whatever reading weights has drawn
    classifier = _build_classifier(config, architecture, chosen, device)
    frozen = frozen_part(config, classifier.trunk)
    frozen.begin_epoch(classifier, 1)
    checks.refuse_unfit_weighter(config, weighter, classifier)
    choice = _choose_precision(config, distributed, device, classifier, rates_file)
    # the choice is recorded, so that another machine computes the same
    config = replace(config, precision=choice.precision, augment=config.augment or "standard")
    weighter.to(device)
    ema_model = MovingAverage(classifier, config.ema) if config.ema else None
    recompute_blocks(classifier.trunk, config)  # not those of the copy, which is never trained
    return TrainingComponents(
        config=config,
        distributed=distributed,
        dataset=dataset,
        reader=open_reader(
            config.cache, dataset, device, data.rows, data.labels, distributed.on_this_machine()
        ),
        training_rows=data.training_rows,
        validation_rows=data.validation_rows,
        sampling=data.sampling,
        tasks=tasks,
        device=device,
        precision=choice.precision,
        measured_rates=choice.rates,
        augmentation=_choose_augmentation(config),
        classifier=classifier,
        frozen=frozen,
        ema_model=ema_model,
        label_loss=build_loss(config, *data.counts_of_findings, device),
        weighter=weighter,
        optimizer=build_optimizer(classifier, weighter, config),
        scaler=torch.amp.GradScaler(device.type, enabled=choice.precision == "fp16"),
        warnings=(*dataset.warnings, *filter(None, [chosen.warning])),
    )


def _configure_torch(config: TrainConfig, device: torch.device) -> None:
    """Set the state of torch that holds for the whole process."""
    reset_peak_memory(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # for code that names no device
    torch.manual_seed(config.seed)
    # the fastest kernels, or only those that give the same bits every time
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic


def _with_backbone(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the backbone's full name; one's own has run, and has a hash."""
    if not is_own_backbone(config.backbone):
        return replace(config, backbone=resolve_backbone(config.backbone), backbone_sha256=None)
    name, sha256 = run_backbone(config.backbone, config.backbone_sha256)
    return replace(config, backbone=name, backbone_sha256=sha256)


def _with_code(config: TrainConfig) -> TrainConfig:
    """Return the configuration with place and hash of the code that its weighter has run."""
    code = code_of(config.weighter)
    if code is None:
        return config
    name, sha256 = full_name(config.weighter), own_weighter(code.name).sha256
    return replace(config, weighter=name, weighter_sha256=sha256)


def _choose_precision(
    config: TrainConfig,
    distributed: DistributedContext,
    device: torch.device,
    classifier: Classifier,
    rates_file: Path | None,
) -> PrecisionChoice:
    choice = PrecisionChoice("fp32")
    if distributed.is_main:  # processes that measure side by side would disturb each other
        batch = micro_batch_size(config, distributed)
        architecture = classifier.architecture
        choice = choose_precision(config.precision, device, architecture, batch, rates_file)
    return distributed.broadcast(choice)


def _architecture(config: TrainConfig, dataset: RadiographDataset, resumed: bool) -> Architecture:
    """Return what is trained; raises `UsageError` for a size that does not fit.

    A resumed run has it from its checkpoint, which needs neither files nor a network.
    """
    if resumed and config.resume is not None and (config.resume / LAST).is_file():
        saved = Architecture.from_plain(read_checkpoint(config.resume / LAST)["architecture"])
        _refuse_other_model(saved, config, config.resume)
        return saved
    size = config.image_size or dataset.size
    if size > dataset.size:
        demo = " --demo" if dataset.is_synthetic else ""
        smallest = next(m.folder for m in dataset.members if m.size == dataset.size)
        raise UsageError(
            f"--image-size {size} is larger than the stored {dataset.size} px of {smallest}.",
            f"Give --image-size {dataset.size} or less, or store larger images: "
            f"deepchest prepare{demo} --size {size} --data {smallest} --force",
        )
    spec = describe_backbone(config.backbone, size, config.pool)
    return Architecture.of(spec, config.head, dataset.findings, dataset.size)


def _refuse_other_model(saved: Architecture, config: TrainConfig, folder: Path) -> None:
    same = saved.backbone == config.backbone
    if config.backbone_sha256 is not None:  # a file of one's own may lie elsewhere now
        same = saved.backbone_config.get(HASH) == config.backbone_sha256
    if not same or saved.head != config.head:
        raise UsageError(
            f"{folder / LAST} holds another model than {folder / RUN_CONFIG} describes: "
            f"{saved.backbone} with the head {saved.head}.",
            f"Restore {RUN_CONFIG}, or start a new run.",
        )


def _choose_weights(
    spec: BackboneSpec, config: TrainConfig, distributed: DistributedContext
) -> WeightsChoice:
    """Return the initial weights; they are fetched once, and alike for all processes."""
    chosen = WeightsChoice(config.weights)
    if distributed.is_main:
        chosen = choose_weights(spec, config.weights, config.weights_sha256)
    name, sha256 = distributed.broadcast((chosen.name, chosen.sha256))
    return chosen if distributed.is_main else choose_weights(spec, name, sha256)


def _build_classifier(
    config: TrainConfig, architecture: Architecture, chosen: WeightsChoice, device: torch.device
) -> Classifier:
    """Return the model on its device."""
    classifier = Classifier(architecture, chosen.weights, config.drop_path, config.dropout)
    if config.sync_batchnorm:
        classifier = nn.SyncBatchNorm.convert_sync_batchnorm(classifier)  # type: ignore[no-untyped-call]
    return classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _choose_augmentation(config: TrainConfig) -> Augmentation | None:
    """Return the ranges to augment by; None: no augmentation."""
    if config.augment == "none":
        return Augmentation(0, (1, 1), 1, 0, 0, 0, flip=True) if config.flip else None
    return PAPER if config.augment == "paper" else Augmentation(flip=config.flip)

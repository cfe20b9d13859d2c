"""What an epoch costs over the bare model step, and against the reference's arrangement."""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from interleaved import compare, conditions
from material import Material, material
from reference import ReferenceRun
from torch.nn.functional import binary_cross_entropy_with_logits

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.device import resolve_device
from deepchest_cli.training.interruption import StopRequest
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.observers import Observers
from deepchest_cli.training.resources import Clock
from deepchest_cli.training.setup import set_up


class OurEpoch:
    """Epochs of the training loop itself, without the validation after them."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.trainer = Trainer(set_up(config), folder, Observers())
        self.images = self.trainer.setup.steps_per_epoch * config.batch_size

    def __call__(self) -> float:
        clock = Clock()
        self.trainer._train_epoch(StopRequest(), clock)
        synchronise(self.trainer.setup.device)
        seconds = clock.seconds
        self.trainer.position.epoch_step = 0
        return self.images / seconds


class BareStep:
    """The same model and optimiser on one batch that is in memory: no loading, nothing else."""

    def __init__(self, config: TrainConfig, steps: int) -> None:
        self.setup, self.steps = set_up(config), steps
        size = self.setup.classifier.architecture.image_size
        shape = (config.batch_size, 1, size, size)
        self.radiographs = torch.randn(shape, device=self.setup.device).contiguous(
            memory_format=torch.channels_last
        )
        self.labels = torch.zeros(config.batch_size, 14, device=self.setup.device)
        self.setup.classifier.train()

    def __call__(self) -> float:
        setup = self.setup
        started = time.perf_counter()
        for _ in range(self.steps):
            low = setup.precision == "bf16"
            with torch.autocast(setup.device.type, torch.bfloat16, enabled=low):
                _, logits = setup.classifier(self.radiographs)
            loss = binary_cross_entropy_with_logits(logits.float(), self.labels)
            setup.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            setup.optimizer.step()
        synchronise(setup.device)
        return self.steps * len(self.labels) / (time.perf_counter() - started)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def over_bare_step(found: Material, options: argparse.Namespace) -> None:
    """Compare an epoch, augmentation included, with the model step alone."""
    config = TrainConfig(
        data=found.shards,
        backbone=options.backbone,
        image_size=options.size,
        batch_size=options.batch,
        device=options.device,
        epochs=1000,
    )
    with tempfile.TemporaryDirectory() as folder:
        epoch = OurEpoch(config, Path(folder))
        bare = BareStep(config, epoch.images // config.batch_size)
        print("An epoch of deepchest train and the bare model step:")
        compare({"an epoch": epoch, "the bare step": bare}, options.rounds)


def against_reference(found: Material, options: argparse.Namespace) -> None:
    """Compare an epoch of the paper's setting with the arrangement of its authors' code."""
    config = TrainConfig(
        data=found.shards,
        backbone=options.backbone,
        image_size=options.size,
        batch_size=options.batch,
        device=options.device,
        head="mlp",
        augment="paper",
        optimizer="rmsprop",
        epochs=1000,
    )
    with tempfile.TemporaryDirectory() as folder:
        epoch = OurEpoch(config, Path(folder))
        steps = max(2, epoch.images // config.batch_size // 4)
        reference = ReferenceRun(
            found.source,
            options.backbone,
            options.size,
            options.batch,
            steps,
            resolve_device(options.device),
        )
        print("An epoch of deepchest train and the reference's arrangement:")
        compare({"deepchest": epoch, "the reference's arrangement": reference}, options.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with material(options.images, options.size) as found:
        conditions(
            pictures=found.origin,
            pixels=f"1024 to {options.size}",
            backbone=options.backbone,
            batch=options.batch,
            device=options.device,
        )
        over_bare_step(found, options)
        against_reference(found, options)


if __name__ == "__main__":
    main()

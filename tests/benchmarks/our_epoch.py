"""Our side of the benchmarks that train: the training loop itself, and how it is set up."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interleaved import conditions
from material import Material, material

from deepchest_cli.config import TrainConfig
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import synchronize
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Clock


class OurEpoch:
    """Epochs of the training loop itself, without the validation after them."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.trainer = Trainer(build_components(config), folder)
        self.images = self.trainer.components.steps_per_epoch * config.batch_size

    def __call__(self) -> float:
        clock = Clock()
        self.trainer._train_epoch(clock)
        synchronize(self.trainer.components.device)
        seconds = clock.seconds
        self.trainer.state.epoch_step = 0
        return self.images / seconds


def read_options(
    description: str,
    images: int,
    rounds: int,
    add_more: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> argparse.Namespace:
    """Return what was asked for on the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=images)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--device", default="cpu")
    add_more(parser)
    return parser.parse_args()


@contextmanager
def prepared(options: argparse.Namespace, **more: Any) -> Iterator[tuple[Material, OurEpoch]]:
    """Yield the material and an epoch of ours on it, with further settings of the run."""
    with material(options.images, options.size) as found, tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            data=(str(found.shards),),
            backbone=options.backbone,
            image_size=options.size,
            batch_size=options.batch,
            device=options.device,
            epochs=100_000,
            weights="none",
            **more,
        )
        epoch = OurEpoch(config, Path(folder))
        conditions(
            pictures=found.origin,
            pixels=f"1024 to {options.size}",
            backbone=options.backbone,
            batch=options.batch,
            device=options.device,
            precision=epoch.trainer.components.precision,
        )
        yield found, epoch

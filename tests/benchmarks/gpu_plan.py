"""The settings of `gpu.py`: what is measured, how large it is, and on which data."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from material import random_shards

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.shards import MANIFEST
from deepchest_cli.weighting import WEIGHTERS

Progress = Callable[[str], None]
Figures = dict[str, Any]  # a part's, in plain values

OF_PLACE = ("scratch", "out", "nih")  # settings that change no figure
SMALL, LARGE, RUNS = "small", "nih-size", "runs"  # folders in the scratch folder
FEWEST = 8  # images, of which noise labels some with every finding
SHARDS_OVERHEAD = 1.05  # labels, names and checkpoints beside the pixels


class SkippedError(Exception):
    """A part that this machine cannot measure; the message says why."""


@dataclass(frozen=True)
class Plan:
    """The settings of a benchmark; the defaults are those of a GPU."""

    device: str
    scratch: Path  # of this program alone, for data sets and runs
    out: Path  # for results, and the run that is trained on NIH
    nih: Path | None = None  # NIH's files
    scaled_down: bool = False
    backbone: str = "resnet50"
    size: int = 224  # pixels
    batches: tuple[int, ...] = (32, 128, 256)
    compiled: tuple[int, ...] = (32, 128, 256)  # batches at which models are compiled as well
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp16")
    rounds: int = 5
    steps: int = 10  # of a round, back to back
    images: int = 5120  # training images of the small data set, which are an epoch
    epoch_images: int = 86_524  # NIH's official training images
    weighters: tuple[str, ...] = tuple(WEIGHTERS)

    @property
    def validation(self) -> int:
        """Validation images of the small data set."""
        return max(self.images // 4, FEWEST)

    @property
    def epoch_validation(self) -> int:
        """Those of the large one, in proportion to it as NIH's official test images."""
        return max(round(25_596 / 86_524 * self.epoch_images), FEWEST)

    @property
    def settings(self) -> dict[str, Any]:
        """What figures depend on, in plain values."""
        values = {k: v for k, v in asdict(self).items() if k not in OF_PLACE}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def training(self, data: Path, batch: int, **more: Any) -> TrainConfig:
        """Return the configuration of a training of this benchmark."""
        return TrainConfig(
            data=(str(data),),
            backbone=self.backbone,
            image_size=self.size,
            batch_size=batch,
            device=self.device,
            weights="none",
            **{"epochs": 100_000, **more},
        )

    def small_data(self, progress: Progress) -> Path:
        """Return the small data set."""
        return self._noise(SMALL, self.images, self.validation, progress)

    def large_data(self, progress: Progress) -> Path:
        """Return the data set of NIH's size."""
        return self._noise(LARGE, self.epoch_images, self.epoch_validation, progress)

    def new_run(self) -> Path:
        """Return the folder, yet to be made, of a run that is of no use afterwards."""
        (self.scratch / RUNS).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self.scratch / RUNS)) / "run"

    def clean_up(self) -> None:
        """Remove what was made for the measurements, unless it is part of an unfinished NIH."""
        for name in (SMALL, LARGE, RUNS):
            shutil.rmtree(self.scratch / name, ignore_errors=True)
        with suppress(OSError):  # it is not there, or not empty
            self.scratch.rmdir()

    def _noise(self, name: str, training: int, validation: int, progress: Progress) -> Path:
        """Return a data set of noise, made once. Raises `SkippedError` where it has no room."""
        folder, images = self.scratch / name, training + validation
        if (folder / MANIFEST).is_file():  # which is written last
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        needed = images * self.size**2 * SHARDS_OVERHEAD
        free = shutil.disk_usage(self.scratch).free
        if free < needed:
            raise SkippedError(
                f"The data set takes {needed / 1e9:.1f} GB, and {self.scratch} has "
                f"{free / 1e9:.1f} GB left. Name another folder: --scratch FOLDER"
            )
        random_shards(
            folder, images, self.size, 0, validation,
            lambda done: progress(f"writing images: {done:,} of {images:,}"),
        )  # fmt: skip
        return folder


# of a Metal device: a tenth of NIH
SMALLER: dict[str, Any] = {"images": 1280, "epoch_images": 8_652}
# of a CPU: everything runs through in minutes, and the figures say nothing about a GPU
SCALED_DOWN: dict[str, Any] = {
    "scaled_down": True, "backbone": "resnet18", "size": 64, "batches": (8, 16, 32),
    "compiled": (8,), "precisions": ("fp32", "bf16"), "rounds": 3, "steps": 2, "images": 128,
    "epoch_images": 512,
    "weighters": ("equal", "deepchest", "famo", "upgrad"),
}  # fmt: skip

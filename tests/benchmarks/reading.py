"""How fast augmented batches come: ours, a PNG-decoding data set, and torchxrayvision's loader.

Needs: pip install -e '.[bench]'. On the same cores: decoding runs in as many worker processes as
there are threads here. With `--mixed` instead: batches of two data sets against those of one.
"""

import argparse
import contextlib
import io
import itertools
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from interleaved import compare, conditions
from material import Material, material, random_shards
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from deepchest_cli.data.augmentation import (
    Augmentation,
    Normalization,
    augment,
    draw,
    to_gray,
)
from deepchest_cli.data.batches import batches, prefetch
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.data.sampling import uniform

IMAGES, SIZE, BATCH, ROUNDS = 768, 128, 32, 7
CORES = os.cpu_count() or 1


class DecodedImages(Dataset):
    """The usual data set: a file is decoded, shrunk and augmented when it is asked for."""

    def __init__(self, found: Material) -> None:
        self.paths = sorted((found.source / "images").glob("*.png"))
        self.transform = v2.Compose(
            [
                v2.PILToTensor(),
                v2.Resize((SIZE, SIZE), antialias=True),
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomAffine(degrees=10, translate=(0.05, 0.05), scale=(0.9, 1.1)),
                v2.ColorJitter(brightness=0.1, contrast=0.2),
                v2.Normalize([0.5], [0.25]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[index]).convert("L"))


def xray_vision(found: Material) -> Dataset:
    """Return torchxrayvision's own data set of NIH's files, shrunk by its own transforms."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import torchxrayvision as xrv

        return xrv.datasets.NIH_Dataset(
            imgpath=str(found.source / "images"),
            csvpath=str(found.source / "Data_Entry_2017_v2020.csv"),
            transform=v2.Compose(
                [xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(SIZE, engine="cv2")]
            ),
        )


def ours(dataset: RadiographDataset, size: int = SIZE) -> Iterator[torch.Tensor]:
    """Yield batches ready for the network, for ever."""
    reader = ImageReader(dataset, torch.device("cpu"))
    sampling, generator = uniform(dataset.rows("all")), torch.Generator().manual_seed(0)
    for epoch in itertools.count():
        for batch in prefetch(batches(reader, sampling.order(0, epoch), BATCH)):
            gray = to_gray(batch.images, size)
            yield augment(gray, Augmentation(), draw(len(gray), generator), Normalization())


def loaded(dataset: Dataset) -> Iterator[object]:
    """Yield an epoch's batches of a data set, read by worker processes."""
    yield from DataLoader(dataset, BATCH, shuffle=True, num_workers=CORES, drop_last=True)


def rate(start: Callable[[], Iterator[object]], count: int) -> float:
    """Return images a second over `count` batches after the first.

    Begun anew in every round: workers that read ahead between two rounds would slow down whatever
    is measured then, and have their own batches ready for nothing.
    """
    coming = start()
    next(coming)
    started = time.perf_counter()
    for _ in itertools.islice(coming, count):
        pass
    return count * BATCH / (time.perf_counter() - started)


def gathered(dataset: RadiographDataset) -> Iterator[object]:
    """Yield batches as they are stored, for ever."""
    reader, sampling = ImageReader(dataset, torch.device("cpu")), uniform(dataset.rows("all"))
    for epoch in itertools.count():
        yield from batches(reader, sampling.order(0, epoch), BATCH)


def mixed(small: int, large: int, images: int = 6144) -> None:
    """Compare batches of two data sets with those of one that has as many images and shards."""
    conditions(pixels="random", batch=BATCH, images=images, shards=images // 512)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"one": small, "half": small, "other half": small, "larger": large}
        paths = {name: str(Path(folder) / name) for name in sizes}
        for seed, (name, size) in enumerate(sizes.items()):
            random_shards(Path(paths[name]), images // (1 if name == "one" else 2), size, seed)
        datasets = {
            f"two of {small} px": open_datasets([paths["half"], paths["other half"]]),
            f"one of {small} px": open_datasets([paths["one"]]),
            f"two, of {small} and {large} px": open_datasets([paths["half"], paths["larger"]]),
        }
        print("augmented batches")
        compare(
            {
                name: lambda d=dataset: rate(lambda: ours(d, small), 40)  # type: ignore[misc]
                for name, dataset in datasets.items()
            },
            2 * ROUNDS,
        )
        print("the same images as they are stored")
        compare(
            {
                name: lambda d=dataset: rate(lambda: gathered(d), 100)  # type: ignore[misc]
                for name, dataset in datasets.items()
            },
            2 * ROUNDS,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mixed", action="store_true", help="two data sets against one")
    parser.add_argument("--sizes", default="224,320", help="stored sizes of --mixed")
    arguments = parser.parse_args()
    if arguments.mixed:
        mixed(*map(int, arguments.sizes.split(",")))
        return
    with material(IMAGES, SIZE) as found:
        conditions(pictures=found.origin, pixels=f"1024 to {SIZE}", batch=BATCH, workers=CORES)
        decoded, dataset = DecodedImages(found), open_dataset(found.shards)
        sources = {
            "ours, gathered and augmented": lambda: rate(lambda: ours(dataset), 200),
            "PNG files, decoded, shrunk and augmented": lambda: rate(lambda: loaded(decoded), 16),
        }
        try:
            peer = xray_vision(found)
            sources["torchxrayvision's NIH loader, no augmentation"] = lambda: rate(
                lambda: loaded(peer), 8
            )
        except ImportError:
            print("torchxrayvision is not installed: pip install -e '.[bench]'")
        compare(sources, ROUNDS)


if __name__ == "__main__":
    main()

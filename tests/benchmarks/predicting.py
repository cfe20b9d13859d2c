"""Predicting files: the first answer, the rate of a folder, and false warnings on real radiographs.

The rate is compared with the slower of decoding alone and of the model alone, on the same cores and
in turn; where both keep all cores busy, that is more than any overlap can reach, so that the rate
that their added work allows stands beside it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from interleaved import conditions
from material import material

sys.path.insert(0, str(Path(__file__).parents[1]))

from prediction_models import make_model

from deepchest_cli.data.dataset import open_dataset
from deepchest_cli.library.model import Model, load_model
from deepchest_cli.prediction.inputs import InputFile
from deepchest_cli.prediction.reading import prefetch, read_file

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--model", help="run trained on real radiographs, for false warnings")
    parser.add_argument("--data", help="shards that it was trained on")
    options = parser.parse_args()
    conditions(backbone=options.backbone, size=options.size, images=options.images)
    size = options.size
    with tempfile.TemporaryDirectory() as folder, material(options.images, 64) as found:
        run = make_model(Path(folder), backbone=options.backbone, image_size=size, stored_size=size)
        paths = sorted((found.source / "images").iterdir())
        print(f"{len(paths)} files: {found.origin}")
        cold_start(run, paths[0])
        warm(load_model(run, device="cpu"), paths)
    if options.model and options.data:
        false_warnings(load_model(options.model, device="cpu"), Path(options.data))


def cold_start(run: Path, path: Path) -> None:
    """Print the time of a whole process that predicts one file, over that of importing torch."""
    words = {
        "import torch, torchvision": [sys.executable, "-c", "import torch, torchvision"],
        "deepchest predict": [
            *(sys.executable, "-m", "deepchest_cli", "predict", str(path)),
            *("--model", str(run), "--device", "cpu"),
        ],
    }
    times: dict[str, list[float]] = {name: [] for name in words}
    for _ in range(ROUNDS):
        for name, command in words.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times[name].append(time.perf_counter() - start)
    bare, whole = times.values()
    over = [b - a for a, b in zip(bare, whole, strict=True)]
    print(
        f"cold start: imports {statistics.median(bare):.2f} s, one PNG "
        f"{statistics.median(whole):.2f} s, over the imports median {statistics.median(over):.2f} "
        f"({min(over):.2f} to {max(over):.2f}) s"
    )


def warm(model: Model, paths: list[Path]) -> None:
    """Print rates of decoding, of the model and of both."""
    predictor, network = model.predictor, model.predictor.networks[0]
    size, batch = network.metadata.frame.size, network.batch_size
    images = np.random.default_rng(0).integers(0, 256, (batch, size, size), dtype=np.uint8)

    def decode() -> None:
        files = (InputFile(path) for path in paths)
        for _ in prefetch(files, lambda one: read_file(one, predictor.preprocessings, size)):
            pass

    def compute() -> None:
        for _ in range(-(-len(paths) // batch)):
            network(images)

    measures = {
        "decoding alone": decode,
        "model alone": compute,
        "both": lambda: model.predict(paths),
    }
    rates: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        for name, measure in measures.items():
            rates[name].append(_rate(measure, len(paths)))
    decoding, computing, both = (np.array(found) for found in rates.values())
    for name, found in rates.items():
        print(f"  {name}: median {statistics.median(found):.1f} images/s")
    slower, added = both / np.minimum(decoding, computing), both * (1 / decoding + 1 / computing)
    print(
        f"  both over the slower: median {np.median(slower):.2f} ({slower.min():.2f} to "
        f"{slower.max():.2f}); over what the added work allows: {np.median(added):.2f}"
    )


def _rate(measure: Callable[[], object], images: int) -> float:
    start = time.perf_counter()
    measure()
    return images / (time.perf_counter() - start)


def false_warnings(model: Model, data: Path) -> None:
    """Print how many real test radiographs, and strange pictures made from them, are warned of."""
    dataset = open_dataset(data)
    rows = dataset.rows("test")
    images = dataset.gather(rows)
    chance = np.random.default_rng(0)
    pictures = {
        "test radiographs as they are": images,
        "inverted": 255 - images,
        "upside down": images[:, ::-1].copy(),
        "turned by 90 degrees": np.rot90(images, axes=(1, 2)).copy(),
        "noise": chance.integers(0, 256, images[:50].shape, dtype=np.uint8),
    }
    network = model.predictor.networks[0]
    reference = network.metadata.reference
    if reference is None:
        raise SystemExit("The model knows nothing of its training images.")
    print(f"false warnings: at most {reference.false_warnings:.1%} stated")
    for name, found in pictures.items():
        size = network.batch_size
        features = np.concatenate(
            [network(found[at : at + size]).features for at in range(0, len(found), size)]
        )
        unlike = reference.distances(features) > reference.threshold
        turned = np.array([reference.correlation(one) < reference.likeness for one in found])
        print(
            f"  {name}: {len(found)} pictures, by features {unlike.mean():.1%}, by shape "
            f"{turned.mean():.1%}, by either {(unlike | turned).mean():.1%}"
        )


if __name__ == "__main__":
    torch.set_num_threads(os.cpu_count() or 1)
    main()

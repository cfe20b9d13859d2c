"""What the benchmarks read: 1,024 px PNG files in NIH's layout and the shards made from them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deepchest_cli import __version__
from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.shards import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    ShardContent,
    shard_name,
    write_shard,
)
from deepchest_cli.data.synthetic import write_demo
from deepchest_cli.files import sha256_of, write_json

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
SIZE = 1024


@dataclass(frozen=True)
class Material:
    """A folder as NIH ships it, and its shards."""

    source: Path
    shards: Path
    origin: str  # what the pictures are


@contextmanager
def material(images: int, size: int) -> Iterator[Material]:
    """Yield `images` files of a few different radiographs, prepared at `size` px.

    Real originals are used where DEEPCHEST_TEST_DATA has them, synthetic ones elsewhere.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, shards = Path(folder) / "nih", Path(folder) / "shards"
        originals, origin = _originals(Path(folder))
        _write(source, originals, images)
        config = PrepareConfig(
            size=str(size), split_scheme="random", test_fraction=0.05, allow_duplicates=True
        )
        run_preparation(plan_preparation(config, source), config, shards, lambda *_: None)
        yield Material(source, shards, origin)


def _originals(folder: Path) -> tuple[list[Path], str]:
    real = Path(os.environ.get("DEEPCHEST_TEST_DATA", "")) / "nih-1024" / "images"
    if real.is_dir():
        # those in color are rare in NIH's data and need not be among a few
        found = [path for path in sorted(real.glob("*.png")) if Image.open(path).mode == "L"]
        return found, f"{len(found)} of NIH's originals, again and again"
    demo = folder / "demo"
    demo.mkdir()
    write_demo(demo, images=40, seed=0, workers=1, progress=lambda *_: None)
    chance, found = np.random.default_rng(0), sorted((demo / "images").glob("*.png"))
    for path in found:  # grain, without which a PNG file is decoded too fast
        enlarged = Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        noisy = np.asarray(enlarged) + chance.normal(0, 2, (SIZE, SIZE))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return found, "40 synthetic radiographs, again and again"


def _write(source: Path, originals: list[Path], images: int) -> None:
    (source / "images").mkdir(parents=True)
    chance, rows = np.random.default_rng(0), [HEADER]
    for number in range(images):
        name = f"{number + 1:08d}_000.png"
        shutil.copyfile(originals[number % len(originals)], source / "images" / name)
        found = "|".join(name for name in FINDINGS if chance.random() < 0.1) or "No Finding"
        rows.append(f"{name},{found},0,{number + 1},50,M,PA,{SIZE},{SIZE},0.1,0.1")
    (source / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")


def random_shards(
    folder: Path,
    images: int,
    size: int,
    seed: int,
    validation: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a prepared data set of noise, 512 images a shard, each of a patient of its own.

    The last `validation` images are the validation split, all others the training split.
    """
    folder.mkdir()
    random, entries = np.random.default_rng(seed), []
    for number, first in enumerate(range(0, images, 512)):
        progress(first)
        count = min(512, images - first)
        rows = np.arange(first, first + count)
        names = np.array([f"{seed}-{row}.png" for row in rows])
        labels = random.integers(0, 2, (count, len(FINDINGS))).astype(np.uint8)
        empty, unknown = np.full(count, ""), np.full(count, -1)
        content = ShardContent(
            images=random.integers(0, 256, (count, size, size), dtype=np.uint8),
            labels=labels,
            known=np.ones_like(labels),
            pixel_hash=np.char.zfill(names, 32).astype("S32"),
            file_bytes=np.zeros(count, np.int64),
            columns={
                "image_index": names, "study": names, "source": np.full(count, "csv"),
                "sex": empty, "view": empty,
                "split": np.where(rows < images - validation, "train", "validation"),
                "patient_id": rows, "age": unknown,
                "follow_up": unknown, "original_width": unknown, "original_height": unknown,
            },
            box_row=np.zeros(0, np.int32),
            box_finding=np.zeros(0, "S32"),
            box=np.zeros((0, 4), np.float32),
            findings=FINDINGS,
        )  # fmt: skip
        path = folder / shard_name(number)
        write_shard(path, content)
        entries.append(
            {"file": path.name, "sha256": sha256_of(path), "bytes": path.stat().st_size,
             "images": count, "near_constant": 0}
        )  # fmt: skip
    source = {
        "kind": "csv", "label_version": "unknown", "synthetic": False, "patients": True,
        "label_policies": {}, "sha256": {"noise": str(seed)}, "rows_sha256": str(seed),
    }  # fmt: skip
    settings = {
        "size": size, "rows_per_shard": 512, "aspect": "squash", "views": "frontal",
        "split_scheme": "random", "validation_fraction": 0.0, "test_fraction": 0.0, "seed": seed,
    }  # fmt: skip
    write_json(
        folder / MANIFEST,
        {"format": FORMAT, "format_version": FORMAT_VERSION, "written_by": __version__,
         "findings": list(FINDINGS), "source": source, "settings": settings, "shards": entries},
    )  # fmt: skip

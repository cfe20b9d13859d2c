"""What the benchmarks read: 1,024 px PNG files in NIH's layout and the shards made from them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.synthetic import write_demo

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

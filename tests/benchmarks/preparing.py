"""Preparing 1024 px PNG files, from a folder and from tar.gz, against Pillow alone; peak memory.

Pillow alone: decoding and shrinking the same files, already in memory, in as many threads, nothing
written. The two are timed in turn, several times, and the ratio of the medians is printed.

    python tests/benchmarks/preparing.py --images 200
    python tests/benchmarks/preparing.py --memory 1000,20000,112120
    python tests/benchmarks/preparing.py --checks

The last compares decoding and checking for damage with Pillow's decoding alone, in one thread.

With DEEPCHEST_TEST_DATA the radiographs are NIH's own bytes (sixteen, repeated), else noise on a
smooth picture, which packs as radiographs do.
"""

import argparse
import io
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.radiograph import decode

SIZE = 224
SMALL = 64  # pixels of the many images whose memory is measured
HEADER = "Image Index,Finding Labels,Patient ID\n"


def radiographs(pixels: int) -> list[bytes]:
    """Return the bytes of PNG files: NIH's where they are at hand and 1024 or 224 px are wanted."""
    folder = Path(os.environ.get("DEEPCHEST_TEST_DATA", "")) / f"nih-{pixels}" / "images"
    if folder.is_dir():
        return [path.read_bytes() for path in sorted(folder.glob("*.png"))[:160]]
    chance = np.random.default_rng(0)
    return [noise(pixels, chance) for _ in range(16)]


def noise(pixels: int, chance: np.random.Generator) -> bytes:
    """Return a PNG file of noise on a slope; no two are equal."""
    slope = np.add.outer(np.linspace(20, 120, pixels), np.linspace(0, 100, pixels))
    noisy = (slope + chance.normal(0, 2, slope.shape)).clip(0, 255).astype(np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noisy).save(memory, format="PNG", compress_level=1)
    return memory.getvalue()


def write_source(
    folder: Path, file_of: Callable[[int], bytes], count: int, archives: int = 0
) -> Path:
    """Write a source of `count` images in a folder, or in as many archives as said."""
    folder.mkdir(parents=True)
    names = [f"{number:08d}_000.png" for number in range(1, count + 1)]
    rows = "".join(f"{name},No Finding,{number}\n" for number, name in enumerate(names, start=1))
    (folder / "Data_Entry_2017_v2020.csv").write_text(HEADER + rows)
    if not archives:
        (folder / "images").mkdir()
        for number, name in enumerate(names):
            (folder / "images" / name).write_bytes(file_of(number))
        return folder
    for number, chunk in enumerate(np.array_split(np.arange(count), archives), start=1):
        path = folder / f"images_{number:03d}.tar.gz"
        with tarfile.open(path, "w:gz", compresslevel=6) as archive:
            for row in chunk.tolist():
                data = file_of(row)
                member = tarfile.TarInfo(f"images/{names[row]}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder


def prepare(source: Path, folder: Path, workers: int, size: int = SIZE) -> float:
    """Prepare a source and return the seconds it took; the images are equal on purpose."""
    config = PrepareConfig(
        size=str(size), split_scheme="random", workers=workers, allow_duplicates=True
    )
    start = time.perf_counter()
    run_preparation(plan_preparation(config, source), config, folder, lambda *_: None)
    return time.perf_counter() - start


def pillow_alone(files: list[bytes], count: int, workers: int) -> float:
    """Decode and shrink as many images; return the seconds."""

    def one(number: int) -> None:
        with Image.open(io.BytesIO(files[number % len(files)])) as image:
            image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)

    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - start


def compare(count: int, rounds: int, workers: int) -> None:
    """Print the rates and their ratios."""
    files = radiographs(1024)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = write_source(root / "folder", lambda row: files[row % len(files)], count)
        archive = write_source(root / "archive", lambda row: files[row % len(files)], count, 2)
        seconds: dict[str, list[float]] = {"Pillow alone": [], "folder": [], "tar.gz": []}
        for number in range(rounds):
            seconds["Pillow alone"].append(pillow_alone(files, count, workers))
            seconds["folder"].append(prepare(folder, root / f"f{number}", workers))
            seconds["tar.gz"].append(prepare(archive, root / f"a{number}", workers))
    alone = statistics.median(seconds["Pillow alone"])
    for kind, each in seconds.items():
        ratios = [base / one for base, one in zip(seconds["Pillow alone"], each, strict=True)]
        print(
            f"{kind:13} {count / statistics.median(each):7.1f} images/s, "
            f"{alone / statistics.median(each):.2f} of Pillow alone "
            f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
        )


def converted(data: bytes, kind: str, **settings: object) -> bytes:
    """Return a PNG file as one of another kind."""
    memory = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("L").save(memory, format=kind, **settings)
    return memory.getvalue()


def compare_checks(rounds: int) -> None:
    """Print the time of `decode` over that of Pillow alone, by kind of file."""
    large, small = radiographs(1024), radiographs(224)
    kinds = {
        "PNG, 1024 px": large,
        "PNG, 224 px": small,
        "JPEG, 1024 px": [converted(data, "JPEG", quality=92) for data in large],
        "TIFF, Deflate, 1024 px": [
            converted(data, "TIFF", compression="tiff_adobe_deflate") for data in large
        ],
    }
    for kind, files in kinds.items():
        ratios = []
        for number in range(rounds):
            turns = (pillow_decodes, decode)
            seconds = {each: timed(each, files) for each in turns[:: 1 if number % 2 else -1]}
            ratios.append(seconds[decode] / seconds[pillow_decodes])
        print(
            f"{kind:22} {statistics.median(ratios):.2f} of the time of Pillow alone "
            f"(rounds {min(ratios):.2f} to {max(ratios):.2f})"
        )


def pillow_decodes(data: bytes) -> Image.Image:
    """Return a file as mode L, without any check."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("L")


def timed(work: Callable[[bytes], Image.Image], files: list[bytes]) -> float:
    """Return the seconds that the files take."""
    start = time.perf_counter()
    for data in files:
        work(data)
    return time.perf_counter() - start


def measure_memory(counts: list[int], workers: int) -> None:
    """Print time and peak memory of a process that prepares so many images from twelve tar.gz."""
    chance = np.random.default_rng(0)
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            source = write_source(Path(name) / "s", lambda row: noise(SMALL, chance), count, 12)
            command = [sys.executable, __file__, "--prepare", source, "--workers", str(workers)]
            print(f"{count:7,} images: {subprocess.check_output(command, text=True).strip()}")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--memory", help="numbers of images, separated by commas")
    parser.add_argument("--prepare", type=Path, help="prepare this source and print the memory")
    parser.add_argument("--checks", action="store_true", help="decoding against Pillow's")
    given = parser.parse_args()
    if given.checks:
        compare_checks(given.rounds)
    elif given.prepare:
        seconds = prepare(given.prepare, given.prepare.parent / "out", given.workers, SMALL)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak {peak:.0f} MiB, {seconds:.1f} s")
    elif given.memory:
        measure_memory([int(count) for count in given.memory.split(",")], given.workers)
    else:
        compare(given.images, given.rounds, given.workers)


if __name__ == "__main__":
    main()

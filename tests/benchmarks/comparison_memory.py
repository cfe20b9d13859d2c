"""Peak memory of a whole comparison, scoring and report included, over that of one training run."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

COMMON = ("--device", "cpu", "--epochs", "2", "--batch-size", "32", "--quiet")


def peak(command: str, *arguments: str) -> float:
    """Return the most memory in GB that a command has taken as a process of its own."""
    words = (sys.executable, "-m", "deepchest_cli", command, *arguments, *COMMON)
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} has ended with status {status}")
    return usage.ru_maxrss * 1024 / 1e9


def measured(options: argparse.Namespace, folder: Path) -> Sequence[float]:
    """Return the peaks of a training run and of a comparison of six weighters and three seeds."""
    same = ("--data", str(options.data), "--backbone", options.backbone)
    size = ("--image-size", str(options.image_size))
    weighters = ("--weighters", "equal,deepchest,uncertainty,dwa,famo,rlw", "--seeds", "3")
    return (
        peak("train", "--weighter", "famo", *same, *size, "--out", str(folder / "run")),
        peak("compare-weighters", *weighters, *same, *size, "--out", str(folder / "comparison")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/demo-shards"))
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run, comparison = measured(options, Path(folder))
    print(f"one run {run:.2f} GB, a comparison of 18 runs {comparison:.2f} GB: ", end="")
    print(f"{comparison / run:.2f} times")


if __name__ == "__main__":
    main()

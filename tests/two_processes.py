"""Trains several configurations; started by torchrun, in two processes."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests_support import untimed, weighter_options

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.model.checkpoint import read_checkpoint
from deepchest_cli.training.components import build_components
from deepchest_cli.training.distributed import DistributedContext, process_group
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.weighting import WEIGHTERS

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
# no batch norm, whose statistics are each process's own; no bf16, in which a sum depends on how it
# is split up; and no AdamW, which divides a gradient by its size: where gradients cancel, the
# rounding that is left of them would be as large as the step
PLAIN: dict[str, Any] = {"backbone": "small_cnn", "batch_size": 16, "epochs": 2, "ema": 0.9}
PLAIN |= {"optimizer": "sgd", "learning_rate": 0.01, "precision": "fp32"}
# one of each backward strategy, with micro-batches and without
FEW = ("deepchest", "upgrad", "famo, micro-batches", "gradnorm, micro-batches")
FEW += ("pcgrad, parameters", "equal, unfrozen", "upgrad, unfrozen")
FEW += ("deepchest, two data sets", "upgrad, two data sets")


def environment() -> dict[str, str]:
    """Return the environment of processes that a test starts: its own, with one thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def variants(data: Path) -> dict[str, TrainConfig]:
    """Return what is trained, by name: every weighter, and steps in micro-batches."""
    found = {}
    for name in (*WEIGHTERS, "deepchest+uncertainty", "deepchest+upgrad"):
        options = weighter_options(name, FINDINGS).items()
        given = tuple(f"{key}={value}" for key, value in options)
        found[name] = TrainConfig(data=(str(data),), weighter=name, weighter_option=given, **PLAIN)
    # weights of 1 to 14: its steps are as large as the others', which rounding turns at no ReLU
    found["fixed"] = replace(found["fixed"], learning_rate=0.01 / 7.5)
    found["auroc, every 2 steps"] = replace(
        found["deepchest"], weighter_option=("signal=auroc", "every=2")
    )
    # one that adds up over the micro-batches, one that does not, one with given weights
    for name in ("equal", "famo", "gradnorm", "cagrad"):
        config = replace(found[name], grad_accum_steps=2, clip_grad_norm=1.0)
        found[f"{name}, micro-batches"] = config
    for name in ("equal", "upgrad", "gradnorm"):
        config = replace(
            found[name],
            freeze="all" if name == "upgrad" else "2",
            unfreeze_epoch=2,
            grad_accum_steps=2,
        )
        found[f"{name}, unfrozen"] = replace(config, layer_decay=0.5)
    for name in ("gradnorm", "pcgrad", "graddrop", "deepchest+upgrad"):
        config = replace(found[name], gradient_level="parameters", grad_accum_steps=2)
        found[f"{name}, parameters"] = replace(config, max_steps=4)
    for name in ("deepchest", "upgrad", "famo, micro-batches", "gradnorm", "pcgrad, parameters"):
        found[f"{name}, two data sets"] = replace(
            found[name],
            data=(str(data), str(data.parent / "site")),  # of other radiographs, at another size
            tasks="finding-by-source",
            source_sampling=("site=2",),
        )
    return found


def train_all(data: Path, out: Path, names: list[str], distributed: DistributedContext) -> None:
    """Train each variant in a folder of its own; every process writes the weights it ends with."""
    for name in names:
        config = replace(variants(data)[name], out=out / name)
        components = build_components(config, distributed)
        folder = create_run(components.config) if distributed.is_main else out / name
        distributed.barrier()
        Trainer(components, folder).fit()
        torch.save(components.classifier.state_dict(), folder / f"weights-{distributed.rank}.pt")


def assert_same_training(one: Path, two: Path) -> None:
    """Two processes end with the very same weights, and with those and the tables of one."""
    assert (two / "weights.csv").exists() == (one / "weights.csv").exists()
    for table in sorted(path.name for path in one.glob("*.csv")):
        for ours, theirs in zip(untimed(two / table), untimed(one / table), strict=True):
            assert ours.pop("source", None) == theirs.pop("source", None)
            assert _numbers(ours) == pytest.approx(
                _numbers(theirs), rel=1e-4, abs=1e-5, nan_ok=True
            )
    expected = torch.load(one / "weights-0.pt")
    found = [torch.load(two / f"weights-{rank}.pt") for rank in (0, 1)]
    averages = [read_checkpoint(run / "best.pt")["tensors"] for run in (one, two)]
    assert all(torch.equal(found[0][key], found[1][key]) for key in expected)
    for key, value in expected.items():
        assert torch.allclose(found[0][key], value, rtol=1e-3, atol=1e-5), key
    for key, value in averages[0].items():
        assert torch.allclose(averages[1][key], value, rtol=1e-3, atol=1e-5), key


def _numbers(row: dict[str, str]) -> list[float]:
    return [float(value or "nan") for value in row.values()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 0, "cpu") as group:
        train_all(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], group)

"""Trains with every weighter; started twice by torchrun, it is what the test compares with."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from tests_support import weighter_options

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.training.components import build_components
from deepchest_cli.training.distributed import DistributedContext, process_group
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.weighting import WEIGHTERS

# no batch norm, whose statistics are each process's own, and no bf16, in which a sum depends on how
# it is split up
PLAIN = {"backbone": "small_cnn", "batch_size": 16, "epochs": 2, "learning_rate": 1e-3, "ema": 0.9}
PLAIN["precision"] = "fp32"


class Silent:
    def on_step(self, report: object) -> None:
        pass

    on_epoch = on_note = on_step


def variants(data: Path) -> dict[str, TrainConfig]:
    """Return what is trained, by name: every weighter, and a step in parts."""
    found = {}
    for name in (*WEIGHTERS, "deepchest+uncertainty", "deepchest+upgrad"):
        options = weighter_options(name, FINDINGS).items()
        given = tuple(f"{key}={value}" for key, value in options)
        found[name] = TrainConfig(data=data, weighter=name, weighter_option=given, **PLAIN)
        if name.endswith("upgrad"):
            # its directions are what is left where gradients cancel, and AdamW divides by their
            # size: rounding would be as large as the step
            found[name] = replace(found[name], optimizer="sgd", learning_rate=0.1)
    found["auroc, every 2 steps"] = replace(
        found["deepchest"], weighter_option=("signal=auroc", "every=2")
    )
    # one that adds up over the parts, one that does not; one that has its weights ahead
    for name in ("equal", "famo", "gradnorm", "cagrad"):
        found[f"{name} in parts"] = replace(found[name], grad_accum_steps=2, clip_grad_norm=1.0)
    for name in ("gradnorm", "pcgrad", "graddrop", "deepchest+upgrad"):
        config = replace(found[name], gradient_level="parameters", grad_accum_steps=2)
        found[f"{name}, parameters"] = config
    return found


def train_all(data: Path, out: Path, ranks: DistributedContext) -> None:
    """Train each variant in a folder of its own; every process writes the weights it ends with."""
    for name, config in variants(data).items():
        setup = build_components(replace(config, out=out / name), ranks)
        folder = create_run(setup.config) if ranks.is_first else out / name
        ranks.wait()
        Trainer(setup, folder, Silent()).fit()
        torch.save(setup.classifier.state_dict(), folder / f"weights-{ranks.rank}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 0, "cpu") as group:
        train_all(Path(sys.argv[1]), Path(sys.argv[2]), group)

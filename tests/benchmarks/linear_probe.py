"""An epoch of a linear probe against one of fine-tuning the same network, validation included.

With DEEPCHEST_TEST_DATA the radiographs are those of its folder nih-224, else synthetic ones.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from interleaved import compare, conditions

from deepchest_cli.config import PrepareConfig, TrainConfig
from deepchest_cli.data.preparation import plan_preparation, run_preparation
from deepchest_cli.data.synthetic import write_demo
from deepchest_cli.interruption import StopRequest
from deepchest_cli.training.components import build_components
from deepchest_cli.training.device import synchronize
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.probe import ProbeTrainer, build_probe
from deepchest_cli.training.progress import Clock


class WholeEpoch:
    """Epochs with all that belongs to one: training, validation, tables and checkpoints."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __call__(self) -> float:
        """Return the epochs an hour."""
        trainer, clock = self.trainer, Clock()
        trainer._train_epoch(clock)
        trainer._end_epoch(1, clock)
        synchronize(trainer.components.device)
        return 3600 / clock.seconds


def prepared(folder: Path) -> tuple[Path, str]:
    """Return shards of 224 px and what they are made of."""
    source, origin = Path(os.environ.get("DEEPCHEST_TEST_DATA", "")) / "nih-224", "NIH's, nih-224"
    if not source.is_dir():
        source, origin = folder / "demo", "1,600 synthetic radiographs"
        source.mkdir()
        write_demo(source, images=1600, seed=0, workers=2, progress=lambda *_: None)
    config = PrepareConfig(workers=2)
    run_preparation(plan_preparation(config, source), config, folder / "shards", lambda *_: None)
    return folder / "shards", origin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="none", help="a file; the rates hardly depend on it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards, origin = prepared(folder)
        config = TrainConfig(
            data=(str(shards),),
            backbone=options.backbone,
            weights=options.weights,
            device=options.device,
            epochs=1000,
            out=folder / "tuned",
        )
        tuned = Trainer(build_components(config), folder / "tuned")
        config = TrainConfig(
            **{**vars(config), "linear_probe": True, "optimizer": "sgd", "batch_size": 128}
        )
        probe = ProbeTrainer(build_probe(config), folder / "probe", folder / "features")
        for trainer in (tuned, probe):
            trainer.folder.mkdir()
        started = time.perf_counter()
        probe.load_features(StopRequest())
        seconds = time.perf_counter() - started
        components = tuned.components
        conditions(
            radiographs=f"{origin}, {len(components.training_rows)} for training",
            backbone=options.backbone,
            device=options.device,
            precision=components.precision,
            heads=len(probe.heads.rates),
        )
        print(f"  features, once: {seconds:.1f} s")
        pair = {"a linear probe": WholeEpoch(probe), "fine-tuning": WholeEpoch(tuned)}
        compare(pair, options.rounds, "epochs/h")
        shutil.rmtree(folder / "features")


if __name__ == "__main__":
    main()

"""The real trainer on simulated GPUs: every variant runs, and waits as often as is written down."""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gradients_problems import WAITS
from simulated_device import SimulatedDevice, simulated
from tests_support import weighter_options

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.errors import InterruptedRunError, UsageError
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.components import build_components
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Observer, StepReport
from deepchest_cli.training.run_directory import create_run
from deepchest_cli.weighting.catalog import WEIGHTERS
from deepchest_cli.weighting.registry import build_weighter

KINDS = ("cuda", "mps")
SETTINGS = {"backbone": "small_cnn", "batch_size": 16, "epochs": 2, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Outcome:
    """What training on a simulated device has come to."""

    trainer: Trainer
    waits: Counter[tuple[str, str]]  # in all steps together
    steps: int


class CountingTrainer(Trainer):
    """Counts what happens while epochs are trained, not at their ends."""

    device: SimulatedDevice

    def _train_epoch(self, *given: Any) -> None:
        with self.device.counting():
            super()._train_epoch(*given)


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Iterator[SimulatedDevice]:
    with simulated(request.param) as device:
        yield device


@pytest.fixture
def train(device: SimulatedDevice, shards: Path, tmp_path: Path) -> Any:
    """Train a few steps in two epochs on the simulated device, and load the last state again."""

    def run(weighter: str = "equal", *observers: Observer, **changes: Any) -> Outcome:
        options = weighter_options(weighter, changes.pop("findings", FINDINGS))
        given = {
            "data": (str(shards),),
            "weighter": weighter,
            "weighter_option": tuple(f"{key}={value}" for key, value in options.items()),
            "device": device.kind,
            "out": tmp_path / "run",
        }
        components = build_components(TrainConfig(**SETTINGS | {"ema": 0.0} | given | changes))
        folder = create_run(components.config)
        trainer = CountingTrainer(components, folder, *observers)
        trainer.device = device
        device.clear()
        trainer.fit()
        waits, steps = Counter(device.waits), trainer.state.step
        if device.kind == "mps":  # which waits for copies, here of what augmentation has drawn
            copies = [key for key in waits if key[1].startswith("data/transfer.py")]
            assert sum(waits.pop(key) for key in copies) <= steps
        outcome = Outcome(trainer, waits, steps)
        again = build_components(replace(components.config, resume=folder), resumed=True)
        resumed = Trainer(again, folder)
        resumed.resume()
        assert resumed.state.step == trainer.state.step > 2
        return outcome

    return run


def composites() -> list[str]:
    """Return DeepChest above every method that it can stand above."""
    found = []
    for name in WEIGHTERS:
        try:
            build_weighter(f"deepchest+{name}", FINDINGS, weighter_options(name, FINDINGS))
        except UsageError:
            continue
        found.append(f"deepchest+{name}")
    return found


def allowed_waits(weighter: str, steps: int) -> int:
    """Return how often the host may wait in some steps in which no weights are updated."""
    return WAITS.get(weighter.removeprefix("deepchest+"), 0) * steps


@pytest.mark.parametrize("weighter", [*WEIGHTERS, *composites()])
def test_every_weighter_trains(weighter: str, train: Any) -> None:
    outcome = train(weighter, max_steps=5)
    assert outcome.waits.total() <= allowed_waits(weighter, 5), outcome.waits


@pytest.mark.parametrize("weighter", sorted(WAITS))
def test_every_gradient_weighter_trains_at_the_parameters(
    weighter: str, train: Any, few_shards: Path
) -> None:
    few = {"data": (str(few_shards),), "findings": ("Effusion", "Mass", "Nodule")}
    outcome = train(weighter, gradient_level="parameters", max_steps=4, **few)
    assert outcome.waits.total() <= allowed_waits(weighter, 4), outcome.waits


VARIANTS = {
    "moving average": {"ema": 0.9},
    "clipped": {"clip_grad_norm": 1.0},
    "micro-batches": {"grad_accum_steps": 2},
    "focal": {"loss": "focal", "pos_weight_power": 0.5, "logit_adjustment": 1.0},
    "asymmetric": {"loss": "asymmetric"},
    "mlp": {"head": "mlp"},
    "cross-stitch": {"head": "cross-stitch"},
    "on the device": {"cache": "device"},
    "in main memory": {"cache": "host"},
    "from files": {"cache": "none"},
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "sgd": {"optimizer": "sgd"},
    "rmsprop": {"optimizer": "rmsprop"},
    "smaller images": {"image_size": 28},
    "paper's augmentation": {"augment": "paper", "flip": True},
    "no augmentation": {"augment": "none"},
    "balanced": {"sampling": "balanced"},
    "frozen first": {"freeze": "all", "unfreeze_epoch": 2},
    "recomputed": {"grad_checkpoint": True, "backbone": "resnet18"},
    "deterministic": {"deterministic": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_without_waiting(variant: str, train: Any) -> None:
    outcome = train("deepchest", **VARIANTS[variant])
    assert not outcome.waits


def test_fp16_waits_for_no_more_than_its_loss_scale(train: Any) -> None:
    """Fused optimizers leave out a step of gradients that are not finite on the device."""
    outcome = train("deepchest", precision="fp16")
    assert not outcome.waits
    gradients = train(
        "mgda",
        precision="fp16",
        gradient_level="parameters",
        out=outcome.trainer.folder.parent / "b",
    )
    assert gradients.waits.total() <= WAITS["mgda"] * gradients.steps


@pytest.mark.parametrize(
    "measure", ["auroc", "average-precision", "f1", "balanced-accuracy", "loss-trend"]
)
def test_signals_wait_when_weights_are_updated_only(measure: str, train: Any) -> None:
    outcome = train("deepchest", weighter_option=(f"signal={measure}",))
    assert not outcome.waits


@pytest.mark.parametrize("measure", ["auroc", "average-precision", "f1"])
def test_an_update_in_an_epoch_waits_once(measure: str, train: Any) -> None:
    outcome = train("deepchest", weighter_option=(f"signal={measure}", "every=2"), max_steps=4)
    assert outcome.waits.total() <= 2, outcome.waits


def test_a_resumed_run_ends_in_the_same_state(
    device: SimulatedDevice, shards: Path, tmp_path: Path
) -> None:
    """Also on the CPU, though of Metal's state in single precision only to rounding."""

    class Stop(Observer):
        def on_step(self, report: StepReport) -> None:
            if report.epoch == 2 and report.step == 1:
                signal.raise_signal(signal.SIGTERM)

    def configuration(name: str, kind: str = device.kind) -> TrainConfig:
        return TrainConfig(
            **SETTINGS, data=(str(shards),), weighter="deepchest+uncertainty", precision="fp32",
            ema=0.9, device=kind, out=tmp_path / name,
        )  # fmt: skip

    whole = build_components(configuration("whole"))
    Trainer(whole, create_run(whole.config)).fit()
    for name, kind in (("again", device.kind), ("on-cpu", "cpu")):
        begun = build_components(configuration(name))
        folder = create_run(begun.config)
        with pytest.raises(InterruptedRunError):
            Trainer(begun, folder, Stop()).fit()
        resumed = replace(configuration(name, kind), resume=folder)
        trainer = Trainer(build_components(resumed, resumed=True), folder)
        trainer.resume()
        trainer.fit()
        ended = torch.load(folder / LAST, weights_only=True)
        expected = torch.load(tmp_path / "whole" / LAST, weights_only=True)
        tolerance = 1e-5 if (device.kind, kind) == ("mps", "cpu") else 0.0
        for found, wanted in [
            (ended["tensors"], expected["tensors"]),
            *(
                (ended["training"][part], expected["training"][part])
                for part in ("optimizer", "ema_model", "weighter")
            ),
        ]:
            torch.testing.assert_close(
                found, wanted, rtol=0, atol=tolerance, check_dtype=not tolerance
            )


def test_every_command_works_on_the_device(
    deepchest: Any, device: SimulatedDevice, shards: Path, tmp_path: Path
) -> None:
    on_device = ("--device", device.kind)
    model = tmp_path / "run"
    trained = deepchest(
        "train", "--data", shards, "--backbone", "small_cnn", "--epochs", 1, "--batch-size", 16,
        "--out", model, *on_device,
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert f", {device.kind}, " in trained.err
    few = ("--bootstrap-replicates", 100, "--json")
    evaluated = deepchest("evaluate", "--model", model, "--data", shards, *few, *on_device)
    on_cpu = deepchest("evaluate", "--model", model, "--data", shards, *few, "--device", "cpu")
    assert evaluated.code == 0, evaluated.err
    here, there = (json.loads(outcome.out)["macro"] for outcome in (evaluated, on_cpu))
    assert here["auroc"] == pytest.approx(there["auroc"], abs=1e-6)
    images = shards.parent / "nih" / "images"
    predicted = deepchest(
        "predict", images / "00000004_001.png", "--model", model, "--heatmap", tmp_path / "maps",
        "--finding", "Effusion", *on_device,
    )  # fmt: skip
    assert predicted.code == 0, predicted.err
    compared = deepchest(
        "compare-weighters", "--data", shards, "--weighters", "deepchest+uncertainty,mgda",
        "--seeds", 2, "--epochs", 1, "--backbone", "small_cnn", "--batch-size", 16,
        "--cost-rounds", 2, "--out", tmp_path / "compared", *few, *on_device,
    )  # fmt: skip
    assert compared.code == 0, compared.err
    weighters = json.loads(compared.out)["weighters"]
    assert len(weighters) == 3
    assert all(one["metrics"] for one in weighters.values()), list(json.loads(compared.out))

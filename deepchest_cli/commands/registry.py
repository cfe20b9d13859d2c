"""Every command by its name; its code is imported when it is asked for, never for an overview."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from deepchest_cli.terminal import Terminal

Run = Callable[[Any, Terminal], None]


@dataclass(frozen=True)
class CommandInfo:
    """A command: the name of its configuration, and what it does in one sentence."""

    name: str
    config: str
    summary: str
    in_any_process: bool = False  # of several that a launcher starts

    @property
    def configuration(self) -> type[Any]:
        """The dataclass that its flags follow from."""
        found: type[Any] = getattr(import_module("deepchest_cli.config"), self.config)
        return found

    @property
    def run(self) -> Run:
        """What it does with a configuration; its docstring begins with the summary."""
        name = self.name.replace("-", "_")
        found: Run = getattr(import_module(f"deepchest_cli.commands.{name}"), name)
        return found


# train joins the other processes of its launcher; others in any process only read and print
COMMANDS = {
    info.name: info
    for info in (
        CommandInfo(
            "prepare",
            "PrepareConfig",
            "Convert NIH ChestX-ray14 or other data sets, or synthetic radiographs, to shards.",
        ),
        CommandInfo(
            "train",
            "TrainConfig",
            "Train a classifier; the test split is never read.",
            in_any_process=True,
        ),
        CommandInfo(
            "evaluate",
            "EvaluateConfig",
            "Score models, or anyone's predictions: metrics with intervals, calibration and "
            "subgroups.",
        ),
        CommandInfo(
            "compare-weighters",
            "CompareConfig",
            "Train weighters from the same initial weights on the same batches, and test the "
            "differences.",
        ),
        CommandInfo(
            "predict",
            "PredictConfig",
            "Predict the findings of radiographs in image files, DICOM among them.",
        ),
        CommandInfo(
            "recalibrate",
            "RecalibrateConfig",
            "Choose a site's own operating points and calibration, and keep them in a copy of the "
            "model.",
        ),
        CommandInfo(
            "export",
            "ExportConfig",
            "Write a model as ONNX, or as a torch file that needs no deepchest, and check its "
            "logits.",
        ),
        CommandInfo(
            "runs",
            "RunsConfig",
            "List runs and comparisons: state, macro AUROC, weighter, data, size.",
            in_any_process=True,
        ),
        CommandInfo(
            "weighters",
            "WeightersConfig",
            "List every weighter with kind, cost and paper, or describe those that are named.",
            in_any_process=True,
        ),
        CommandInfo(
            "doctor",
            "DoctorConfig",
            "Show versions, devices, data and model, and how to fix what is missing.",
            in_any_process=True,
        ),
    )
}

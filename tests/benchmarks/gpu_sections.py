"""The sections of `gpu.py` and their parts, and about how long each of them takes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gpu_rates
import gpu_runs
import torch
from gpu_plan import Plan
from gpu_process import Measure

START = 12.0  # seconds of a process until it measures
COMPILING = 60.0  # seconds of a model
PREDICTION = 0.6  # the time of a predicted image, in fp32, over that of a training step's
MEAN_PRECISION = 1.5  # the time of a step over all precisions, over that in the fastest
PARAMETERS = 6.0  # a step that computes each task's gradient by itself, over a plain one
NIH_EPOCHS = 15

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """What is measured, in parts that each have a process of their own."""

    title: str
    measure: Measure
    parts: Callable[[Plan], dict[str, Arguments]]  # the arguments of each part by its name
    work: Callable[[Plan, Arguments], float]  # training images that take as long as a part
    compiled: int = 0  # models that a part compiles, at the batches at which the plan has it
    absent: Callable[[Plan], str | None] = lambda plan: None  # why this cannot be measured

    def seconds(self, plan: Plan, arguments: Arguments, rate: float) -> float:
        """Return about how long a part takes where training has a rate in images a second."""
        if self.absent(plan):
            return 0
        compiled = self.compiled if arguments.get("batch") in plan.compiled else 0
        modes = 2 if self.compiled and arguments.get("batch") in plan.compiled else 1
        return START + compiled * COMPILING + modes * self.work(plan, arguments) / rate


def _batches(plan: Plan) -> dict[str, Arguments]:
    return {f"batch {batch}": {"batch": batch} for batch in plan.batches}


def _epochs(plan: Plan) -> dict[str, Arguments]:
    small, large = plan.batches[0], plan.batches[-1]
    parts = {f"batch {batch}": {"batch": batch, "cache": "auto"} for batch in (small, large)}
    if torch.device(plan.device).type == "cuda":  # others never keep them
        parts[f"batch {large}, images from files"] = {"batch": large, "cache": "none"}
    return parts


def _levels(plan: Plan) -> dict[str, Arguments]:
    return {f"by {level}": {"level": level} for level in ("features", "parameters")}


def _one(plan: Plan) -> dict[str, Arguments]:
    return {"run": {}}


def _work_of_weighters(plan: Plan, arguments: Arguments) -> float:
    steps = 6 * (2 * plan.rounds + 1) * plan.batches[0] * len(plan.weighters)
    return steps * (PARAMETERS if arguments["level"] == "parameters" else 1)


def _work_of_nih(plan: Plan, arguments: Arguments) -> float:
    return (1 if plan.scaled_down else NIH_EPOCHS) * plan.epoch_images


SECTIONS = {
    "steps": Section(
        "Training steps in each precision, eager and compiled",
        gpu_rates.steps,
        _batches,
        lambda plan, part: 3 * MEAN_PRECISION * (plan.rounds + 2) * plan.steps * part["batch"],
        compiled=3,
    ),
    "share": Section(
        "Share of the bare step",
        gpu_rates.share,
        _batches,
        lambda plan, part: 3 * (plan.rounds + 2) * plan.images,
        compiled=3,
    ),
    "validation": Section(
        "Validation in both memory layouts",
        gpu_rates.validation,
        _batches,
        lambda plan, part: 2 * PREDICTION * (plan.rounds + 2) * plan.validation,
    ),
    "epoch": Section(
        "An epoch of NIH's size",
        gpu_runs.epoch,
        _epochs,
        lambda plan, part: plan.epoch_images + PREDICTION * plan.epoch_validation,
    ),
    "weighters": Section("Cost of the weighters", gpu_rates.weighters, _levels, _work_of_weighters),
    "two-gpus": Section(
        "Two GPUs",
        gpu_runs.two_gpus,
        _one,
        lambda plan, part: 4 * gpu_runs.TURNS * plan.images,
        absent=gpu_runs.without_two_gpus,
    ),
    "nih": Section(
        "NIH ChestX-ray14", gpu_runs.nih, _one, _work_of_nih, absent=gpu_runs.without_nih
    ),
}

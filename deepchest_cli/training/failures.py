"""Failures in the middle of a run: losses that are not finite, and torch's errors explained."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepchest_cli.config import TrainConfig
from deepchest_cli.device_errors import explain_device, first_line, is_out_of_memory
from deepchest_cli.errors import DeepChestError, DivergedError
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.distributed import is_lost_peer
from deepchest_cli.training.run_directory import resume_command

CHECK_EVERY = 50  # steps, where a check waits for the device
# torch's own classes for them are imported only with the compiler
COMPILING = ("BackendCompilerFailed", "InductorError", "InvalidCxxCompiler")


class FiniteLossCheck:
    """Finds the first step with a loss that is not finite, without a synchronization a step."""

    def __init__(self, findings: Sequence[str], device: torch.device) -> None:
        self.findings = findings
        self.every = 1 if device.type == "cpu" else CHECK_EVERY
        self.unchecked: list[Tensor] = []  # losses of the latest steps
        self.step = 0  # the latest of them

    def add(self, losses: Tensor, epoch: int, step: int) -> None:
        """Add the losses (T,) of a step, both counted from 1; check them now and then.

        Of several heads (R, T), one that is finite is enough.
        """
        self.unchecked.append(losses)
        self.step = step
        if step % self.every == 0:
            self.check(epoch)

    def check(self, epoch: int) -> None:
        """Raise `DivergedError` with findings and batch if there was a loss that is not finite."""
        if not self.unchecked:
            return
        losses = torch.stack(self.unchecked).cpu().numpy()
        self.unchecked.clear()
        finite = np.isfinite(losses).reshape(len(losses), -1, len(self.findings)).any(axis=1)
        bad_steps = np.flatnonzero(~finite.all(axis=1))
        if not len(bad_steps):
            return
        first = bad_steps[0]
        names = [name for name, good in zip(self.findings, finite[first], strict=True) if not good]
        raise DivergedError(
            f"The loss of {', '.join(names)} is not finite in batch "
            f"{self.step - len(losses) + 1 + first} of epoch {epoch}.",
            "Start a new run with a lower --learning-rate, or with --clip-grad-norm 1.",
        )


def explain(
    error: RuntimeError, folder: Path, processes: int, config: TrainConfig
) -> DeepChestError | None:
    """Return the error to show for one of torch's; None where torch's own says it best."""
    said = first_line(error)
    command = resume_command(folder, config)
    resume = f"The run's {LAST} is kept; resume with: {command}"
    if is_out_of_memory(error):
        by_parameters = config.gradient_level == "parameters"
        lower = "a lower --batch-size or --image-size"
        lower += ", or with --gradient-level features" if by_parameters else ""
        checkpoint = "" if config.grad_checkpoint else ", or with --grad-checkpoint"
        way = f"{resume} --grad-accum-steps 2{checkpoint} (or start a new run with {lower})."
        if config.linear_probe:  # the trunk's batch is at most as large
            way = f"Start a new run with {lower}; features that are complete are kept."
        return DeepChestError(f"Out of memory: {said}{_free_memory(said)}.", way)
    if explained := explain_device(error):
        explained.hint = f"{explained.hint} {resume}."
        return explained
    if processes > 1 and is_lost_peer(error):
        return DeepChestError(
            f"Another process of this run has ended ({said}).", f"{resume} as before."
        )
    if type(error).__name__ in COMPILING:
        return DeepChestError(
            f"The model could not be compiled: {said}.",
            "Leave --compile out; it needs a C++ compiler on CPUs and Triton on GPUs.",
        )
    if "deterministic implementation" in str(error):
        return DeepChestError(
            f"The backbone cannot be trained with --deterministic here: {said}.",
            "Leave --deterministic out, or choose another --backbone.",
        )
    return None


def _free_memory(said: str) -> str:
    """Return how much memory of a GPU is free in words, where an error has not said it."""
    if "free" in said or not (torch.cuda.is_available() and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        return ""
    with suppress(RuntimeError):  # a device that is full may not even answer this
        free, total = torch.cuda.mem_get_info()
        return f" ({free / 1e9:.1f} of {total / 1e9:.1f} GB of the GPU are free)"
    return ""

"""What an error in a run of a comparison means: for the run, for its device, and for the others."""

import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from deepchest_cli.device_errors import explain_device, first_line, is_out_of_memory
from deepchest_cli.errors import (
    DeepChestError,
    DivergedError,
    InterruptedRunError,
    LostDeviceError,
    MemoryShortageError,
    UsageError,
)
from deepchest_cli.files import is_full
from deepchest_cli.own_code import describe, failure_of_own
from deepchest_cli.training.device import resolve_device

PACKAGE = Path(__file__).parents[2]
MORE_MEMORY = (
    "Free memory on {device} (on GPUs, nvidia-smi lists what uses it) and continue with --resume, "
    "which tries this run again; or begin a new comparison with a lower --batch-size."
)
MORE_SPACE = "Free space and continue with --resume, which tries this run again."


@dataclass(frozen=True)
class Failure:
    """Why a run has not finished."""

    error: str
    diverged: bool = False
    lost: LostDeviceError | None = None  # the device has failed, and perhaps not the run
    traceback: str | None = None  # of a fault that nobody has foreseen


def concerns_all_runs(error: Exception) -> bool:
    """Whether a comparison ends with an error: interrupted, or not the run's own fault."""
    if isinstance(error, MemoryShortageError):  # another process may have taken it
        return False
    return isinstance(error, UsageError | InterruptedRunError)


def describe_failure(error: Exception, device: str) -> Failure:
    """Return what an error means for the run that it came from, on a device by its name."""
    cause = error.__cause__ or error  # torch's, where the trainer has explained it
    if isinstance(error, MemoryShortageError) or any(map(is_out_of_memory, (error, cause))):
        text = getattr(error, "message", f"Out of memory: {first_line(error)}.")
        return Failure(f"{text} {MORE_MEMORY.format(device=device)}")
    explained, unforeseen = explain_device(cause), None
    if explained is not None and not isinstance(explained, LostDeviceError):
        return Failure(f"{explained.message} {explained.hint}")
    if explained is None and isinstance(error, DeepChestError):
        explained = error
    explained = explained or failure_of_own(error)
    if explained is None and isinstance(error, OSError) and is_full(error):
        return Failure(f"{error.strerror}: {error.filename or 'a file'}. {MORE_SPACE}")
    if explained is None:
        explained = DeepChestError(f"{describe(error, _last_file(error))}.")
        unforeseen = "".join(traceback.format_exception(error))
    if not isinstance(explained, LostDeviceError) and not computes(device):
        explained = LostDeviceError(f"The device has failed: {explained.message}")
    if isinstance(explained, LostDeviceError):
        name = device if device[-1].isdigit() else "The device"
        text = explained.message.replace("The device", name, 1)
        return Failure(text, lost=LostDeviceError(text, explained.hint), traceback=unforeseen)
    return Failure(explained.message, isinstance(error, DivergedError), traceback=unforeseen)


def computes(device: str) -> bool:
    """Whether this process can use a device: after some errors every further call fails."""
    try:
        kind = resolve_device(device)
        return kind.type == "cpu" or int(torch.zeros(1, device=kind).add(1)) == 1
    except (DeepChestError, RuntimeError) as error:
        return is_out_of_memory(error)


def _last_file(error: Exception) -> Path:
    """Return the file of the package that an error came through last."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = [Path(name) for name in files if PACKAGE in Path(name).parents]
    return ours[-1] if ours else Path(files[-1])

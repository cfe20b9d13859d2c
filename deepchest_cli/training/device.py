"""Devices: by their names, and the memory that a run takes of them."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from deepchest_cli.config import refuse_unknown_device
from deepchest_cli.data.text import count_of
from deepchest_cli.data.transfer import empty_caches
from deepchest_cli.errors import UsageError

PROCESS = Path("/proc/self")  # on Linux


def resolve_device(name: str, local_rank: int = 0) -> torch.device:
    """Return the device by its name; only `auto` falls back to the CPU.

    A GPU without a number is that of the process, `local_rank`.
    Raises `UsageError` for a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return resolve_device("cuda", local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    refuse_unknown_device(name)
    kind, _, index = name.partition(":")
    if kind == "cuda":
        number = int(index or local_rank)
        _refuse_absent_gpu(name, number)
        return torch.device("cuda", number)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: this machine has no Metal device.", "Use --device auto.")
    return torch.device(name)


def _refuse_absent_gpu(name: str, index: int) -> None:
    if not torch.cuda.is_available():
        reason = "no CUDA device is usable" if torch.version.cuda else "torch is a CPU build"
        raise UsageError(
            f"--device {name}: {reason} on this machine.",
            "Use --device auto to fall back to the CPU; deepchest doctor says more.",
        )
    count = torch.cuda.device_count()
    if index >= count and not name[-1].isdigit():
        raise UsageError(
            f"This run has more processes than this machine has CUDA devices ({count}).",
            "Start one process for each device.",
        )
    if index >= count:
        raise UsageError(
            f"--device {name}: this machine has {count_of(count, 'CUDA device')}.",
            "They count from cuda:0, among those of CUDA_VISIBLE_DEVICES where it is set.",
        )


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished what it was asked to compute."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Compute with a number of threads of the CPU: sums in another order end in other bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_memory() -> None:
    """Give back what nothing refers to any more: the caller drops its own references first."""
    gc.collect()  # models and optimizers are in cycles of references
    empty_caches()


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` count from here on, as far as the system allows."""
    if device.type == "cuda":
        # torch refuses ("Invalid device argument") where nothing has been on a GPU, nor has a peak
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif (PROCESS / "clear_refs").exists():
        with suppress(OSError):  # some containers forbid it: the peak is then the process's
            (PROCESS / "clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Return the peak of memory in bytes since it was reset; None where the system does not say.

    On CUDA that of tensors. On Metal what the driver has given to this process, which keeps memory
    until its cache is emptied. On a CPU that of the whole process, libraries included; only Linux
    can reset it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if (PROCESS / "status").exists():
        lines = (PROCESS / "status").read_text().splitlines()
        peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        return peaks[0] * 1024 if peaks else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

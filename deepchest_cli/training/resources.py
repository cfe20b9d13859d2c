"""What a run takes of its machine: time, time lost waiting for data, memory."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Clock:
    """Measures an epoch from its making on."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.waited = 0.0  # seconds in which nothing was there to compute on

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.started

    def waiting(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield `items`, counting the time that they take to come."""
        while True:
            began = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - began
            yield item


def peak_memory(device: torch.device) -> int | None:
    """Return the most memory in bytes that this process has taken: on a GPU its tensors, else all.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


LINUX = Path("/proc/self")


def reset_step_peak(device: torch.device) -> None:
    """Let `step_peak` count from here on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (LINUX / "clear_refs").exists():
        with suppress(OSError):  # some containers forbid it: the peak then counts from the start
            (LINUX / "clear_refs").write_text("5")


def step_peak(device: torch.device) -> int | None:
    """Return the most bytes held since `reset_step_peak`: on a GPU its tensors, else the process.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not (LINUX / "status").exists():
        return None
    lines = (LINUX / "status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)

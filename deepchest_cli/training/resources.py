"""What a run takes of its machine: time, time lost waiting for data, memory."""

import sys
import time
from collections.abc import Iterator
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

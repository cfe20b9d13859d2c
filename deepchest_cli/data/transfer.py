"""Copies from the host's memory to a device, and the memory that torch keeps there."""

from contextlib import suppress

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device.

    CUDA has read what is not pinned before the call returns, and keeps what is pinned: the host
    goes on without waiting for what the device is computing. Metal would read it later, when it may
    have been freed (PyTorch issue 189690), and so is waited for.
    """
    return values.to(device, non_blocking=device.type == "cuda")


def empty_caches() -> None:
    """Let other processes and torch's next tensors have what torch keeps of freed memory."""
    with suppress(RuntimeError):  # a device that has failed has none to give
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()

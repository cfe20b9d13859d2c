"""Copies from the host's memory to a device, by which nothing waits where that is safe."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device.

    CUDA has read what is not pinned before the call returns, and keeps what is pinned: the host
    goes on without waiting for what the device is computing. Metal would read it later, when it may
    have been freed (PyTorch issue 189690), and so is waited for.
    """
    return values.to(device, non_blocking=device.type == "cuda")

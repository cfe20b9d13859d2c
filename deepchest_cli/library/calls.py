"""What a call leaves behind as it found it, and what it does not do twice at a time."""

import os
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from deepchest_cli.errors import InterruptedRunError, UsageError

_training = threading.Lock()


@contextmanager
def alone(function: str) -> Iterator[None]:
    """Refuse a second training in this process: both would draw from the same random numbers."""
    if not _training.acquire(blocking=False):
        raise UsageError(
            f"{function} was called while this process trains already.",
            "Wait until that has ended, or start another process.",
        )
    try:
        yield
    finally:
        _training.release()


@contextmanager
def kept_torch_state(deterministic: bool) -> Iterator[None]:
    """Leave torch's random numbers, its GPU, the choice of kernels and free memory as they were."""
    import torch

    from deepchest_cli.training.device import free_memory

    if deterministic:  # cuBLAS reads this when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    gpu = torch.cuda.current_device() if torch.cuda.is_available() else None
    benchmark = torch.backends.cudnn.benchmark
    before = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    accelerator = torch.accelerator.current_accelerator()
    # named, because torch warns of several GPUs that are not
    devices = range(torch.accelerator.device_count())
    with torch.random.fork_rng(devices, device_type=accelerator.type if accelerator else "cuda"):
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=only_warns)
            torch.backends.cudnn.benchmark = benchmark
            if gpu is not None:
                torch.cuda.set_device(gpu)
            free_memory()  # of a model that cycles of references hold


def as_call(error: InterruptedRunError, function: str) -> InterruptedRunError:
    """Return an interruption whose hint is the call that goes on, instead of the command."""
    words = shlex.split(error.hint)
    given = {
        flag.removeprefix("--").replace("-", "_"): value
        for flag, value in pairwise(words)
        if flag.startswith("--")
    }
    if "resume" not in given:
        return error
    keywords = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return InterruptedRunError(
        error.message, f"Go on with: {function}({keywords})", error.exit_code
    )

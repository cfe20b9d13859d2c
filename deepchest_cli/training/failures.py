"""What torch's errors in the middle of a run mean to the person who started it."""

from pathlib import Path
from shlex import quote

import torch

from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.checkpoint import LAST

LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "remote process",
)

# torch's own classes for them are imported only with the compiler
COMPILING = ("BackendCompilerFailed", "InductorError", "InvalidCxxCompiler")


def lost_peer(error: RuntimeError) -> bool:
    """Whether an error says that another process is no longer there."""
    return any(words in str(error) for words in LOST_PEER)


def explain(
    error: RuntimeError, folder: Path, processes: int, by_parameters: bool = False
) -> DeepChestError | None:
    """Return the error to show instead; None when torch's own says it best."""
    text = str(error)
    kept = f"The run's {LAST} is kept; go on with: deepchest train --resume {quote(str(folder))}"
    if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text:
        lower = "a lower --batch-size or --image-size"
        lower += ", or with --gradient-level features" if by_parameters else ""
        return DeepChestError(
            f"Out of memory: {text.splitlines()[0]}",
            f"{kept} --grad-accum-steps 2 (or begin anew with {lower}).",
        )
    if processes > 1 and lost_peer(error):
        return DeepChestError(
            f"Another process of this run has ended ({text.strip().splitlines()[0]}).",
            f"{kept} as before.",
        )
    if type(error).__name__ in COMPILING:
        return DeepChestError(
            f"The model could not be compiled: {text.strip().splitlines()[0]}",
            "Leave --compile out; it needs a C++ compiler on CPUs and Triton on GPUs.",
        )
    if "deterministic implementation" in text:
        return DeepChestError(
            f"The backbone cannot be trained with --deterministic here: {text.splitlines()[0]}",
            "Leave --deterministic out, or choose another --backbone.",
        )
    return None

"""What predicts: anything that maps stored radiographs to features and logits."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.prediction.knowledge import Knowledge

ONNX, TORCH = ".onnx", ".pt2"


class Outputs(NamedTuple):
    """What a network says to B images."""

    features: NDArray[np.float32]  # (B, D)
    logits: NDArray[np.float32]  # (B, T)


class Network(Protocol):
    """A model that is ready to predict."""

    @property
    def knowledge(self) -> Knowledge:
        """What its answers rest on."""

    @property
    def batch_size(self) -> int:
        """How many radiographs it is given at a time, at most."""

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return what it says to stored images (B, S, S)."""


def filled(images: NDArray[np.uint8], batch_size: int) -> NDArray[np.uint8]:
    """Return images (B, S, S) and blanks up to the one shape of a batch: its kernels are fixed."""
    whole = np.zeros((batch_size, *images.shape[1:]), dtype=np.uint8)
    whole[: len(images)] = images
    return whole


def refuse_broken(logits: NDArray[np.float32], knowledge: Knowledge) -> None:
    """Raise `DeepChestError` for logits (B, T) that are no numbers."""
    wrong = ~np.isfinite(logits).all(axis=0)
    if wrong.any():
        names = ", ".join(np.array(knowledge.findings)[wrong].tolist())
        raise DeepChestError(
            f"The logits of {knowledge.identity['path']} for {names} are not finite.",
            "The model diverged in training: train again with a lower --learning-rate.",
        )


def open_network(model: Path, device: str, batch_size: int | None, resolve: Any) -> Network:
    """Return the network of a run folder, a checkpoint or an ONNX file.

    resolve: from a device's name to torch's device; called for checkpoints alone. Raises
    `UsageError` where there is none and `DeepChestError` for a file that is none.
    """
    if model.suffix.lower() == ONNX:
        from deepchest_cli.prediction.onnx_network import open_onnx

        return open_onnx(model, device, batch_size)
    if model.suffix.lower() == TORCH:
        raise UsageError(
            f"{model} is an exported torch file, which is for other programs.",
            "Name the run folder, its checkpoint, or an ONNX file with --model.",
        )
    from deepchest_cli.prediction.torch_network import open_checkpoint

    return open_checkpoint(model, resolve(device), batch_size)

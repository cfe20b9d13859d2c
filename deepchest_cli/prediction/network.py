"""The contract of a network: stored radiographs in, features and logits out."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import DeepChestError
from deepchest_cli.prediction.model_metadata import ModelMetadata


class Outputs(NamedTuple):
    """What a network returns for B images."""

    features: NDArray[np.float32]  # (B, D)
    logits: NDArray[np.float32]  # (B, T)


class Network(Protocol):
    """A model that is ready to predict."""

    @property
    def metadata(self) -> ModelMetadata:
        """What its predictions rest on."""

    @property
    def batch_size(self) -> int:
        """How many radiographs it is given at a time, at most."""

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return features and logits of stored images (B, S, S)."""


def refuse_non_finite(logits: NDArray[np.float32], metadata: ModelMetadata) -> None:
    """Raise `DeepChestError` for logits (B, T) that are not finite."""
    wrong = ~np.isfinite(logits).all(axis=0)
    if wrong.any():
        names = ", ".join(np.array(metadata.findings)[wrong].tolist())
        raise DeepChestError(
            f"The logits of {metadata.identity['path']} for {names} are not finite.",
            "The model diverged in training: train again with a lower --learning-rate.",
        )

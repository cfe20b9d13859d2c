"""A checkpoint as a network."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.model.checkpoint import LoadedModel, load_model
from deepchest_cli.model.forward import outputs_of
from deepchest_cli.model.reference import Reference, SeenImages
from deepchest_cli.prediction.knowledge import Knowledge
from deepchest_cli.prediction.network import Outputs
from deepchest_cli.prediction.reading import Frame

# small enough for a quick first answer, large enough for 95 % of the rate of large ones
CPU_BATCH, GPU_BATCH = 4, 32


class TorchNetwork:
    """A loaded checkpoint that predicts on its device."""

    def __init__(self, model: LoadedModel, device: torch.device, batch_size: int | None) -> None:
        self.model = model
        self.device = device
        self.knowledge = knowledge_of(model)
        self.batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return what the model says to stored images (B, S, S)."""
        stacked = torch.from_numpy(images)
        found = outputs_of(self.model.classifier, stacked, self.batch_size, self.device)
        features, logits = (part.float().cpu().numpy() for part in found)
        return Outputs(features, logits)


def open_checkpoint(model: Path, device: torch.device, batch_size: int | None) -> TorchNetwork:
    """Return the network of a run folder or checkpoint; errors as `load_model`."""
    return TorchNetwork(load_model(model, device), device, batch_size)


def knowledge_of(model: LoadedModel) -> Knowledge:
    """Return what the answers of a checkpoint rest on."""
    architecture, settings = model.classifier.architecture, model.origin["settings"]
    return Knowledge(
        {**model.identity, "format": "checkpoint"},
        architecture.findings,
        architecture.image_size,
        Frame(architecture.stored_size, settings.get("aspect") == "pad"),
        architecture.mean,
        architecture.deviation,
        model.choices,
        None if model.reference is None else Reference.from_plain(model.reference),
        None if model.seen is None else SeenImages.from_plain(model.seen),
    )

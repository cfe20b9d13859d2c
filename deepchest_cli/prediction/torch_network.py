"""A checkpoint as a network."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.model.checkpoint import LoadedModel, load_model
from deepchest_cli.model.classifier import outputs_of
from deepchest_cli.model.reference import Reference, TrainingImages
from deepchest_cli.prediction.model_metadata import ModelMetadata, Preprocessing
from deepchest_cli.prediction.network import Outputs

# small enough for a quick first prediction, large enough for 95 % of the rate of large ones
CPU_BATCH, GPU_BATCH = 4, 32


class TorchNetwork:
    """A loaded checkpoint that predicts on its device."""

    def __init__(self, model: LoadedModel, device: torch.device, batch_size: int | None) -> None:
        self.model = model
        self.device = device
        self.metadata = metadata_of(model)
        self.batch_size = batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)

    def __call__(self, images: NDArray[np.uint8]) -> Outputs:
        """Return features and logits of stored images (B, S, S)."""
        stacked = torch.from_numpy(images)
        found = outputs_of(self.model.classifier, stacked, self.batch_size, self.device)
        features, logits = (one.float().cpu().numpy() for one in found)
        return Outputs(features, logits)


def open_checkpoint(model: Path, device: torch.device, batch_size: int | None) -> TorchNetwork:
    """Return the network of a run folder or checkpoint; errors as `load_model`."""
    return TorchNetwork(load_model(model, device), device, batch_size)


def metadata_of(model: LoadedModel) -> ModelMetadata:
    """Return what the predictions of a checkpoint rest on."""
    architecture, settings = model.classifier.architecture, model.data_sets[0]["settings"]
    reference, images = model.reference, model.training_images
    return ModelMetadata(
        identity={**model.identity, "format": "checkpoint"},
        findings=architecture.findings,
        image_size=architecture.image_size,
        preprocessing=Preprocessing(architecture.stored_size, settings.get("aspect") == "pad"),
        mean=architecture.mean,
        std=architecture.std,
        validation_fit=model.validation_fit,
        reference=None if reference is None else Reference.from_plain(reference),
        training_images=tuple(map(TrainingImages.from_plain, images)) if images else None,
        data_sets=tuple(one["name"] for one in model.data_sets if one["name"]),
    )

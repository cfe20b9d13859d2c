"""From stored bytes to features and logits, in fp32 and with batches of one shape."""

import torch
from torch import Tensor

from deepchest_cli.data.augmentation import normalize, to_gray
from deepchest_cli.model.classifier import Classifier


@torch.inference_mode()
def outputs_of(
    classifier: Classifier, images: Tensor, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return features (B, D) and logits (B, T) for stored images (B, S, S), B up to `batch_size`.

    The batch is filled up to `batch_size`, because kernels chosen by the shape of a batch would
    let an image's probabilities depend on its neighbors.
    """
    filled = images.new_zeros((batch_size, *images.shape[1:]))
    filled[: len(images)] = images
    architecture = classifier.architecture
    gray = to_gray(filled.to(device), architecture.image_size)
    # TF32 would cost the fifth digit on recent GPUs, and other algorithms the last ones
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
        features, logits = classifier(normalize(gray, architecture.normalization))
    return features[: len(images)], logits[: len(images)]

"""A classifier with all that comes before it, from stored bytes on, as one module."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepchest_cli.model.classifier import Classifier


class Exportable(nn.Module):
    """Maps stored images (B, S, S) of bytes to features (B, D) and logits (B, T).

    Resizing is linear, and so a product with a matrix from either side: the same numbers as
    `to_gray`, in operations that every runtime has.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        architecture = classifier.architecture
        self.classifier = classifier
        self.mean, self.deviation = architecture.mean, architecture.deviation
        stored, size = architecture.stored_size, architecture.image_size
        self.shrinks = stored != size
        self.register_buffer("shrink", _resizing(stored, size))  # (size, S)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and logits."""
        gray = images.to(torch.float32) / 255
        if self.shrinks:
            shrink = cast(Tensor, self.shrink)
            gray = torch.matmul(torch.matmul(shrink, gray), shrink.T).clamp(0, 1)
        found: tuple[Tensor, Tensor] = self.classifier(
            ((gray - self.mean) / self.deviation).unsqueeze(1)
        )
        return found


def _resizing(stored: int, size: int) -> Tensor:
    """Return the matrix (size, stored) of antialiased bilinear resizing, one axis of it."""
    identity = torch.eye(stored, dtype=torch.float64)[None, None]
    resized = F.interpolate(
        identity, size=(size, stored), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0, 0].to(torch.float32)

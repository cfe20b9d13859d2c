"""The multi-label classifier: a shared trunk and one logit for each finding."""

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from deepchest_cli.data.augmentation import Normalization, normalize, to_gray
from deepchest_cli.model.backbones import build_trunk, resolve_backbone
from deepchest_cli.model.heads import build_head


@dataclass(frozen=True)
class Architecture:
    """A model apart from its weights, in plain values that a checkpoint can hold."""

    backbone: str
    head: str
    findings: tuple[str, ...]
    image_size: int  # pixels the network sees
    stored_size: int  # pixels that images are first shrunk to, as `prepare` did
    mean: float = Normalization.mean
    std: float = Normalization.std

    @property
    def normalization(self) -> Normalization:
        """The scaling of gray values that the network was trained with."""
        return Normalization(self.mean, self.std)

    def radiographs(self, images: Tensor) -> Tensor:
        """Return stored images (B, S, S) as the network takes them: (B, 1, size, size)."""
        return normalize(to_gray(images, self.image_size), self.normalization)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as values that every version of torch loads safely."""
        return {**asdict(self), "findings": list(self.findings)}

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Architecture":
        """Return what `to_plain` gave."""
        return Architecture(**{**values, "findings": tuple(values["findings"])})


class Classifier(nn.Module):
    """Maps radiographs (B, 1, S, S) to features (B, D) and logits (B, T).

    The features are the last that all findings share: the trunk's, or under an mlp head those of
    its hidden layer.
    """

    def __init__(self, architecture: Architecture, weights: str = "none") -> None:
        super().__init__()
        name = resolve_backbone(architecture.backbone)
        self.architecture = replace(architecture, backbone=name)
        self.trunk, features = build_trunk(name, architecture.image_size, weights)
        self.head = build_head(architecture.head, features, len(architecture.findings))

    def forward(self, radiographs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, T)."""
        return self.classify(cast(Tensor, self.trunk(radiographs)))

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, T) from what the trunk gives."""
        for layer in self._head_layers[:-1]:
            features = layer(features)
        return features, cast(Tensor, self.task_layer(features))

    @property
    def task_layer(self) -> nn.Module:
        """What computes the logits from the features; of an `nn.Linear` each finding has a row."""
        return self._head_layers[-1]

    @property
    def shared_parameters(self) -> list[nn.Parameter]:
        """What comes before the features."""
        before = [self.trunk, *self._head_layers[:-1]]
        return [parameter for module in before for parameter in module.parameters()]

    @property
    def last_shared_layer(self) -> nn.Linear | nn.Conv2d:
        """The last linear or convolutional layer before the features.

        Where a backbone ends in parallel branches, that is the last branch's.
        """
        before = nn.ModuleList([self.trunk, *self._head_layers[:-1]])
        layers = [m for m in before.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        return layers[-1]

    @property
    def _head_layers(self) -> list[nn.Module]:
        return list(self.head) if isinstance(self.head, nn.Sequential) else [self.head]


@torch.inference_mode()
def outputs_of(
    classifier: Classifier, images: Tensor, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return features (B, D) and logits (B, T) in fp32 for stored images (B, S, S).

    At most `batch_size` images, which blanks fill up: kernels chosen by the shape of a batch would
    let an image's probabilities depend on its neighbors.
    """
    filled = images.new_zeros((batch_size, *images.shape[1:]))
    filled[: len(images)] = images
    radiographs = classifier.architecture.radiographs(filled.to(device))
    # TF32 would cost the fifth digit on recent GPUs, and other algorithms the last ones
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
        features, logits = classifier(radiographs)
    return features[: len(images)], logits[: len(images)]

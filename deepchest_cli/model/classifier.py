"""The multi-label classifier: a shared trunk and one logit for each finding."""

from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from torch import Tensor, nn

from deepchest_cli.data.augmentation import Normalisation
from deepchest_cli.model.backbones import build_trunk, resolve_backbone
from deepchest_cli.model.heads import build_head


@dataclass(frozen=True)
class Architecture:
    """What a model is, apart from its weights; plain values, so that a checkpoint can hold it."""

    backbone: str
    head: str
    findings: tuple[str, ...]
    image_size: int  # pixels the network sees
    stored_size: int  # pixels that images are first shrunk to, as `prepare` did
    mean: float = Normalisation.mean
    deviation: float = Normalisation.deviation

    @property
    def normalisation(self) -> Normalisation:
        """The scaling of grey values that the network was trained with."""
        return Normalisation(self.mean, self.deviation)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as values that every version of torch loads safely."""
        return {**asdict(self), "findings": list(self.findings)}

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Architecture":
        """Return what `to_plain` gave."""
        return Architecture(**{**values, "findings": tuple(values["findings"])})


class Classifier(nn.Module):
    """Maps radiographs (B, 1, S, S) to features (B, D) and logits (B, T)."""

    def __init__(self, architecture: Architecture, weights: str = "none") -> None:
        super().__init__()
        name = resolve_backbone(architecture.backbone)
        self.architecture = replace(architecture, backbone=name)
        self.trunk, features = build_trunk(name, architecture.image_size, weights)
        self.head = build_head(architecture.head, features, len(architecture.findings))

    def forward(self, radiographs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, T)."""
        features = cast(Tensor, self.trunk(radiographs))
        return features, cast(Tensor, self.head(features))

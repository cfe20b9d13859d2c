"""The multi-label classifier: a shared trunk and one logit for each finding."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from deepchest_cli.data.augmentation import Normalization, normalize, to_gray
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.model.backbones.base import AUTO_POOL, GRAY, BackboneSpec
from deepchest_cli.model.backbones.registry import resolve_backbone
from deepchest_cli.model.heads import build_head, take_over_head
from deepchest_cli.model.trunk import build_trunk
from deepchest_cli.model.weights import InitialWeights


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
    channels: int = GRAY  # that the trunk takes
    pool: str = AUTO_POOL
    backbone_config: Mapping[str, Any] = field(default_factory=dict)  # of `BackboneSpec`

    @staticmethod
    def of(
        spec: BackboneSpec, head: str, findings: tuple[str, ...], stored_size: int
    ) -> "Architecture":
        """Return the architecture of a backbone with a head for some findings."""
        return Architecture(
            backbone=spec.name,
            head=head,
            findings=findings,
            image_size=spec.image_size,
            stored_size=stored_size,
            mean=spec.mean,
            std=spec.std,
            channels=spec.channels,
            pool=spec.pool,
            backbone_config=spec.config,
        )

    @property
    def spec(self) -> BackboneSpec:
        """The description that the backbone is built by."""
        return BackboneSpec(
            name=self.backbone,
            image_size=self.image_size,
            channels=self.channels,
            mean=self.mean,
            std=self.std,
            pool=self.pool,
            config=self.backbone_config,
        )

    @property
    def normalization(self) -> Normalization:
        """The scaling of gray values that the network was trained with."""
        return Normalization(self.mean, self.std)

    def radiographs(self, images: Tensor) -> Tensor:
        """Return stored images (B, S, S) as the network takes them: (B, 1, size, size)."""
        return normalize(to_gray(images, self.image_size), self.normalization)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields as values that every version of torch loads safely."""
        return {
            **vars(self),
            "findings": list(self.findings),
            "backbone_config": dict(self.backbone_config),
        }

    @staticmethod
    def from_plain(values: dict[str, Any]) -> "Architecture":
        """Return what `to_plain` gave."""
        return Architecture(**{**values, "findings": tuple(values["findings"])})


class Classifier(nn.Module):
    """Maps radiographs (B, 1, S, S) to features (B, D) and logits (B, T).

    The features are the last that all findings share: the trunk's, or under an mlp head those of
    its hidden layer. In training a share of them, the dropout, is set to zero at random.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: InitialWeights | None = None,
        drop_path: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        """weights: None for those drawn at random; drop_path: rate of stochastic depth.

        Of a checkpoint the head is taken over as well, for the findings that both have.
        """
        super().__init__()
        name = resolve_backbone(architecture.backbone)
        self.architecture = replace(architecture, backbone=name)
        self.dropout = dropout
        self.trunk, self.width = build_trunk(self.architecture.spec, weights, drop_path)
        self.head = build_head(architecture.head, self.width, len(architecture.findings))
        self.taken_over = self._take_over(weights) if weights and weights.checkpoint else ()

    def _take_over(self, weights: InitialWeights) -> tuple[str, ...]:
        """Copy the saved head where it fits; return the findings that it knows."""
        assert weights.checkpoint is not None
        other = weights.checkpoint["architecture"]["findings"]
        tensors = weights.checkpoint["tensors"].items()
        saved = {k.removeprefix("head."): v for k, v in tensors if k.startswith("head.")}
        return take_over_head(self.head, self.architecture.findings, saved, other)

    def forward(self, radiographs: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, T)."""
        channels = self.architecture.channels
        colors = radiographs if channels == GRAY else radiographs.expand(-1, channels, -1, -1)
        features = cast(Tensor, self.trunk(colors))
        if features.dim() != 2 or features.shape[1] != self.width:  # code of one's own may vary
            raise DeepChestError(
                f"The backbone {self.architecture.backbone} gave a tensor of shape "
                f"{tuple(features.shape)} for {len(radiographs)} radiographs, and not features of "
                f"(B, {self.width}) as before.",
                "Let its forward pass return the same features for any batch.",
            )
        return self.classify(features)

    def classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, T) from what the trunk gives."""
        for layer in self._head_layers[:-1]:
            features = layer(features)
        if self.training and self.dropout:  # no operation in an exported model
            features = dropout(features, self.dropout)
        return features, cast(Tensor, self.task_layer(features))

    @property
    def task_layer(self) -> nn.Module:
        """What computes the logits from the features; of an `nn.Linear` each finding has a row."""
        return self._head_layers[-1]

    @property
    def shared_parameters(self) -> list[nn.Parameter]:
        """What comes before the features and is trained."""
        before = [self.trunk, *self._head_layers[:-1]]
        parameters = (parameter for module in before for parameter in module.parameters())
        return [parameter for parameter in parameters if parameter.requires_grad]

    @property
    def last_shared_layer(self) -> nn.Linear | nn.Conv2d:
        """The last linear or convolutional layer before the features.

        Where a backbone ends in parallel branches, that is the last branch's. Raises `UsageError`
        where there is none.
        """
        before = nn.ModuleList([self.trunk, *self._head_layers[:-1]])
        layers = [m for m in before.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        if not layers:
            raise UsageError(
                f"{self.architecture.backbone} has no linear and no convolutional layer, which "
                "this weighter needs.",
                "Use another --weighter, or --head mlp.",
            )
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

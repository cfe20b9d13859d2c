"""The contract of a source of backbones: torchvision, timm, one's own code and others."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from deepchest_cli.data.augmentation import Normalization
from deepchest_cli.errors import UsageError

GRAY, RGB = 1, 3
# key of a description: the sources of radiographs that published weights were trained on
PRETRAINED_ON = "pretrained_on"
AUTO_POOL = "auto"  # what the network itself does


@dataclass(frozen=True)
class BackboneSpec:
    """What builds a backbone again without a network connection, in plain values.

    A checkpoint holds it: `config` is whatever the source needs besides, in numbers, texts, truth
    values, None, lists and dictionaries of them.
    """

    name: str  # canonical
    image_size: int  # pixels
    channels: int = GRAY  # of the input; of three, each is the gray image
    mean: float = Normalization.mean  # of the input's gray values from 0 to 1
    std: float = Normalization.std
    pool: str = AUTO_POOL  # how a map or tokens become features, where there is a choice
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """Pretrained weights that a library fetches: from where, and whether they lie here already."""

    url: str  # a small file beside them or they themselves; asked for before anything is fetched
    is_cached: bool


class BackboneSource(ABC):
    """Builds backbones of one kind, and knows the weights that are published for them."""

    @abstractmethod
    def resolve(self, name: str) -> str:
        """Return the canonical name of a backbone, without building it.

        Raises `UsageError` for a name that is not known, with the nearest, and for a missing extra.
        """

    @abstractmethod
    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Return the description of a backbone of this canonical name.

        Raises `UsageError` for a size that it does not take, with the nearest that it does, and
        for a way of pooling that it has not.
        """

    @abstractmethod
    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return a trunk with random weights, and its number of features D.

        The trunk maps (B, channels, S, S) to (B, D). drop_path: rate of stochastic depth. Raises
        `UsageError` where the network has none.
        """

    def published(self, spec: BackboneSpec) -> Published | None:
        """Return where pretrained weights are to be had; None: nobody has published any."""
        return None

    def pretrained(self, spec: BackboneSpec) -> Mapping[str, Tensor]:
        """Return the published weights by the names of the trunk, fetched by the library.

        A stem of three channels may stay one. Raises `OSError` or `RuntimeError` where they cannot
        be had.
        """
        raise NotImplementedError(f"{spec.name} has no published weights")

    def adapt(self, trunk: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors from elsewhere as the trunk takes them, as far as they can be.

        Positions are resampled to another image size, for instance; what does not fit stays.
        """
        return state


def no_drop_path(name: str) -> UsageError:
    """Return the error for a rate of stochastic depth where a backbone has none."""
    return UsageError(
        f"{name} has no stochastic depth.",
        "Use --drop-path 0, or a backbone that has it: convnext, efficientnet, maxvit, swin, or a "
        "transformer of timm.",
    )


def refuse_pooling(name: str, pool: str, known: Sequence[str] = ()) -> None:
    """Raise `UsageError` for a way of pooling that a backbone has not."""
    if pool not in (AUTO_POOL, *known):
        ways = ", ".join((AUTO_POOL, *known))
        raise UsageError(
            f"{name} does not pool by {pool!r}.",
            f"Use --pool {ways}." if known else "Leave --pool out: it has one way only.",
        )

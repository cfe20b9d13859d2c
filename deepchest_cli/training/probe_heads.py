"""What a linear probe trains: a head and a weighter for each learning rate, on given features."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader, Labels, Place
from deepchest_cli.data.transfer import to_device
from deepchest_cli.model.heads import BranchLinear
from deepchest_cli.weighting.base import LossWeighter, Performance, TaskLosses

# of --learning-rate; around 1e-3 the 13 rates of DINOv2's linear evaluation (Oquab et al. 2023)
RATE_FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


class ProbeHeads(nn.Module):
    """R copies of a head, one for each learning rate, that begin alike and train side by side.

    Maps features (B, D) to themselves and to logits (B, R, T). The heads see the features less
    their mean: one direction less along which a step would have to be small. Weights and their
    penalty are the same as without, since the mean goes into the first layer's bias.
    """

    mean: Tensor

    def __init__(self, head: nn.Module, rates: tuple[float, ...]) -> None:
        super().__init__()
        self.rates = rates
        self.heads = nn.ModuleList(copy.deepcopy(head) for _ in rates)
        weight = _first_layer(head).weight
        self.register_buffer("mean", weight.new_zeros(weight.shape[-1]))  # (D,)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (B, D) and the logits (B, R, T)."""
        centered = features - self.mean
        return features, torch.stack([head(centered) for head in self.heads], dim=1)

    def head(self, number: int) -> nn.Module:
        """Return a copy of a head for features as they are."""
        head = copy.deepcopy(self.heads[number])
        first = _first_layer(head)
        with torch.no_grad():
            first.bias.sub_(first.weight @ self.mean)  # (outputs,), of branches (T, outputs)
        return head


def _first_layer(head: nn.Module) -> nn.Linear | BranchLinear:
    return next(m for m in head.modules() if isinstance(m, nn.Linear | BranchLinear))


@dataclass(frozen=True)
class ProbePerformance(Performance):
    """The metrics of an epoch of R heads, of each its own."""

    heads: tuple[Performance, ...] = ()


class ProbeWeighter(LossWeighter):
    """A copy of a weighter for each of R heads; losses (R, T) become the sum of R objectives.

    The heads share no parameters, so that each has the gradient of its own objective.
    """

    def __init__(self, weighter: LossWeighter, heads: int) -> None:
        super().__init__(weighter.tasks)
        self.copies = nn.ModuleList(copy.deepcopy(weighter) for _ in range(heads))

    @property
    def weights(self) -> Tensor | None:
        """The weights (R, T) of all copies; None before the first step of some methods."""
        found = [weighter.weights for weighter in self._weighters]
        return None if any(one is None for one in found) else torch.stack(found)  # type: ignore[arg-type]

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the sum of the objectives of losses (R, T)."""
        pairs = zip(self._weighters, _by_head(losses), strict=True)
        return torch.stack([weighter(own) for weighter, own in pairs]).sum()

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Pass each copy the results of its head, of (B, R, T) each."""
        for number, weighter in enumerate(self._weighters):
            weighter.observe(logits[:, number], labels[:, number], known[:, number])

    def end_epoch(self, performance: Performance) -> list[str]:
        """Pass each copy the metrics of its head; return each note once."""
        assert isinstance(performance, ProbePerformance)
        pairs = zip(self._weighters, performance.heads, strict=True)
        notes = [note for weighter, own in pairs for note in weighter.end_epoch(own)]
        return list(dict.fromkeys(notes))

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Pass each copy the losses of its head after the update, computed once for all."""
        losses = cache(lambda: _by_head(recompute()))
        for number, weighter in enumerate(self._weighters):
            weighter.after_step(lambda number=number: losses()[number])  # type: ignore[misc]

    @property
    def _weighters(self) -> list[LossWeighter]:
        return list(self.copies)  # type: ignore[arg-type]


def _by_head(losses: TaskLosses) -> list[TaskLosses]:
    """Return the losses (T,) of each head."""
    pairs = zip(losses.values, losses.known, strict=True)
    return [TaskLosses(values, known) for values, known in pairs]


class FeatureReader(ImageReader):
    """Reads features (B, D) instead of images, and labels (B, R, T) for R heads.

    place: device, or host for any other.
    """

    def __init__(
        self,
        dataset: RadiographDataset,
        device: torch.device,
        place: Place,
        heads: int,
        labels: Labels | None = None,
    ) -> None:
        super().__init__(dataset, device, labels=labels)
        self.place = place
        # views: every head has the same labels
        self.labels = self.labels.unsqueeze(1).expand(-1, heads, -1)
        self.known = self.known.unsqueeze(1).expand(-1, heads, -1)

    def load(self, features: Tensor, rows: NDArray[np.int64]) -> None:
        """Take the features (n, D) of `rows` (n,) of the data set."""
        self.position = np.full(len(self.labels), -1)
        self.position[rows] = np.arange(len(rows))
        self.kept = features.to(self.device) if self.place == "device" else features

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the features of `rows` (B,), (B, D) on the device."""
        assert self.kept is not None, "features are loaded before they are read"
        places = torch.from_numpy(self.position[rows])
        if self.place == "device":
            return self.kept.index_select(0, self.index(self.position[rows]))
        found = self.kept.index_select(0, places)
        if self.device.type == "cuda":
            found = found.pin_memory()
        return to_device(found, self.device)

"""Where a network still keeps places apart: its last map of cells, or grid of tokens.

Found from what the modules return for a few images, not from their names: networks of other
packages, and of one's own, have any.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Classifier

COARSE = 5  # cells a side; a map with fewer says little about where a finding is
SPOT = 64  # the side of an image over that of a spot, which is smaller than a patch


class Seen(NamedTuple):
    """A tensor that entered or left a module in its n-th call of a forward pass."""

    name: str
    call: int
    entering: bool
    tensor: Tensor


@dataclass(frozen=True)
class SpatialLayer:
    """Which tensor of a forward pass is a map of h x w cells, and how it is laid out.

    Channels first: (B, C, h, w), channels last: (B, h, w, C), tokens: (B, N, C), of which h x w in
    the order of rows are patches from `first` on; class and register tokens stand around them.
    """

    name: str  # of a module of the trunk
    call: int
    entering: bool
    layout: Literal["channels first", "channels last", "tokens"]
    cells: tuple[int, int]
    first: int = 0

    def map_of(self, tensor: Tensor) -> Tensor:
        """Return the tensor, or its gradient, as a map (B, C, h, w)."""
        if self.layout == "channels first":
            return tensor
        if self.layout == "channels last":
            return tensor.movedim(-1, 1)
        patches = tensor[:, self.first : self.first + self.cells[0] * self.cells[1]]
        return patches.mT.reshape(*patches.mT.shape[:2], *self.cells)

    def tensor_in(self, seen: Iterable[Seen]) -> Tensor:
        """Return the tensor among those of a forward pass."""
        key = (self.name, self.call, self.entering)
        return next(one.tensor for one in seen if one[:3] == key)


def coarse_note(cells: tuple[int, int]) -> str:
    """Return what is to be said of maps with so few cells; nothing of finer ones."""
    if min(cells) >= COARSE:
        return ""
    by = " by ".join(map(str, cells))
    return f"Maps of {by} cells are too coarse to locate a finding, below {COARSE} by {COARSE}."


@contextmanager
def recorded(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[list[Seen]]:
    """Yield a list that receives what enters and leaves modules, in the order of the forward pass.

    Of a tuple, or of a model's output as transformers has it, that is the first tensor.
    """
    seen: list[Seen] = []
    calls: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> list[Any]:
        def entered(module: nn.Module, inputs: Any, keywords: Any) -> None:
            calls[name] += 1
            tensor = _first_tensor((*inputs, *keywords.values()))
            if tensor is not None:
                seen.append(Seen(name, calls[name], True, tensor))

        def left(module: nn.Module, inputs: Any, output: Any) -> Tensor | None:
            tensor = _first_tensor(output)
            if tensor is not None:
                seen.append(Seen(name, calls[name], False, tensor))
            return tensor.clone() if tensor is output else None  # the next may work in place

        return [
            module.register_forward_pre_hook(entered, with_kwargs=True),
            module.register_forward_hook(left),
        ]

    handles = [handle for name, module in modules for handle in watch(name, module)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(value: Any) -> Any:
    values = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | tuple | list):
        return next((one for one in values if isinstance(one, Tensor)), None)
    return value if isinstance(value, Tensor) else None


def spatial_layer(classifier: Classifier) -> SpatialLayer:
    """Return the last map of the trunk that has more than one cell and that the features rest on.

    A map is the last (B, C, h, w), (B, h, w, C) or sequence of tokens (B, N, C) that a module
    returns. Where the class token alone is pooled, patch tokens have no gradient after the last
    attention; the map is then what enters it. The classifier is in evaluation mode. Raises
    `UsageError` for a trunk without a map or grid of tokens, with the reason.
    """
    try:
        with torch.enable_grad(), recorded(classifier.trunk.named_modules()) as seen:
            features = classifier(_probes(classifier).requires_grad_())[0]
        weights = torch.randn(features.shape, generator=_chance()).to(features)
        total = (features * weights).sum()  # unweighted, a layer norm's features have one sum
        for layer, tensor in _layers(seen, dict(classifier.trunk.named_modules())):
            (gradient,) = torch.autograd.grad(total, tensor, retain_graph=True, allow_unused=True)
            if gradient is not None and layer.map_of(gradient).any():
                return layer
        raise ValueError("its features depend on no map of more than one cell and on no tokens")
    except ValueError as error:
        raise UsageError(
            f"Backbone {classifier.architecture.backbone!r} has no feature map to locate findings "
            f"by: {error}.",
            "Use a backbone that keeps a map, or a grid of patch tokens, up to its pooling.",
        ) from error


def _chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _probes(classifier: Classifier) -> Tensor:
    """Return four images (4, 1, S, S) of noise that differ in a spot in a corner.

    The spots of the last three lie top left, top right and bottom right: in the first patch of the
    first row, in its last one, and in the last of all. Noise, because a blank image would leave
    the norms of layers nothing but the spot.
    """
    size = classifier.architecture.image_size
    side, device = max(1, size // SPOT), next(classifier.parameters()).device
    probes = torch.randn((1, 1, size, size), generator=_chance()).repeat(4, 1, 1, 1).to(device)
    probes[1, :, :side, :side] *= -1
    probes[2, :, :side, -side:] *= -1
    probes[3, :, -side:, -side:] *= -1
    return probes


def _layers(
    seen: Sequence[Seen], modules: Mapping[str, nn.Module]
) -> Iterator[tuple[SpatialLayer, Tensor]]:
    """Yield the maps of a forward pass of `_probes` with their tensors, the last one first."""
    entered = {one[:2]: one.tensor.shape for one in seen if one.entering}
    images, tried = len(seen[0].tensor), set()
    for one in reversed(seen):
        shape = one.tensor.shape
        if one.entering or not one.name or shape[0] != images:  # windows are more than images
            continue
        if len(shape) == 4 and shape[2] == shape[3] > 1:  # radiographs are square
            yield SpatialLayer(*one[:3], "channels first", (shape[2], shape[3])), one.tensor
        elif len(shape) == 4 and shape[1] == shape[2] > 1:
            yield SpatialLayer(*one[:3], "channels last", (shape[1], shape[2])), one.tensor
        # norms and blocks keep the shape of tokens; projections to queries and keys do not
        elif len(shape) == 3 and shape[1] > 1 and shape == entered.get(one[:2]):
            if shape not in tried:
                yield from _of_tokens(one, [o for o in seen if o.tensor.shape == shape], modules)
            tried.add(shape)


def _of_tokens(
    last: Seen, alike: Sequence[Seen], modules: Mapping[str, nn.Module]
) -> Iterator[tuple[SpatialLayer, Tensor]]:
    """Yield the last tokens of a shape, and before these what enters blocks and attentions."""
    first, side = _grid(alike[0].tensor.detach())
    entering = [one for one in alike if one.entering and any(modules[one.name].children())]
    for one in (last, *reversed(entering)):
        yield SpatialLayer(*one[:3], "tokens", (side, side), first), one.tensor


def _grid(tokens: Tensor) -> tuple[int, int]:
    """Return the place of the first patch among tokens (4, N, D) of `_probes`, and the grid's side.

    Before any attention a spot changes the token of its own patch, and after it that one the most.
    Raises `ValueError` where they are no square in the order of rows.
    """
    changes = (tokens[1:] - tokens[0]).norm(dim=-1)  # (3, N)
    first, right, last = changes.argmax(dim=1).tolist()
    side = right - first + 1
    if side < 2 or side**2 != last - first + 1:
        raise ValueError(
            f"its {tokens.shape[1]} tokens are no square of patches, row by row (the corners of an "
            f"image change tokens {first}, {right} and {last} most)"
        )
    return first, side

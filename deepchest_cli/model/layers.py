"""The layers of any trunk, by which it is frozen, given rates of its own, and recomputed.

A layer is a block that the network repeats: a residual block, a block of a transformer. Which
modules are blocks follows from the structure alone, so that it holds for the networks of every
library.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
COUNTER = re.compile(r"\d+[a-z]?$")  # of blocks that are counted: layer3, inception4b, 12


@dataclass(frozen=True)
class Layer:
    """A block and what lies between it and its neighbors: an embedding, a norm, a pooling."""

    name: str  # of the block in the trunk, such as blocks.3; of the first module where it has none
    parameters: tuple[str, ...]  # their names in the trunk
    modules: tuple[nn.Module, ...]  # together all that the layer computes; of no other layer
    block: nn.Module | None = None  # None: single modules with nothing in common

    def joined(self, following: "Layer") -> "Layer":
        """Return both as one, named by the one that is a block, or else by the first weights."""
        named = self if self.block or (self.parameters and not following.block) else following
        parameters = self.parameters + following.parameters
        return replace(named, parameters=parameters, modules=self.modules + following.modules)


def layers_of(trunk: nn.Module) -> list[Layer]:
    """Return the layers of a trunk in order; each of its parameters is in exactly one.

    The order is that in which modules are registered, which is that of the computation in
    torchvision, timm and transformers. The first layer holds all before the first block: stem or
    embeddings. What lies between two blocks belongs to the later, as a stage begins with it, and
    what follows the last block to that one. A network that repeats no block (VGG, AlexNet, the
    small CNN) is cut at its convolutions and linear layers, each with what follows it.
    """
    names = {name for name, _ in trunk.named_parameters()}  # of a shared one only the first
    parts = [
        replace(part, parameters=tuple(name for name in part.parameters if name in names))
        for part in _parts(trunk, "", _repeats_blocks(trunk))
    ]
    return _with_neighbors(parts) if _repeats_blocks(trunk) else _cut_at_matrices(parts)


def _parts(module: nn.Module, prefix: str, by_blocks: bool) -> Iterator[Layer]:
    """Yield blocks, and single modules and parameters, down to where blocks (or modules) begin."""
    own = tuple(prefix + name for name, _ in module.named_parameters(recurse=False))
    if own:
        yield Layer(own[0], own, ())
    for name, child in module.named_children():
        path = prefix + name
        whole = not _repeats_blocks(child) if by_blocks else not _only_holds_others(child)
        if whole:
            found = tuple(f"{path}.{key}" for key, _ in child.named_parameters())
            is_block = _matrices(child) > 1 if by_blocks else _matrices(child) > 0
            yield Layer(path, found, (child,), child if is_block else None)
        else:
            yield from _parts(child, f"{path}.", by_blocks)


def _with_neighbors(parts: list[Layer]) -> list[Layer]:
    layers: list[Layer] = []
    before: Layer | None = None  # since the last block
    for part in parts:
        if part.block and before and not layers and _has_stem(parts):
            layers.append(before)
            before = None
        before = before.joined(part) if before else part
        if part.block:
            layers.append(before)
            before = None
    if before:
        layers[-1] = layers[-1].joined(before)
    return layers


def _has_stem(parts: list[Layer]) -> bool:
    """Whether modules with parameters precede the first block: a class token alone is no layer."""
    first = next(number for number, part in enumerate(parts) if part.block)
    return any(part.modules and part.parameters for part in parts[:first])


def _cut_at_matrices(parts: list[Layer]) -> list[Layer]:
    layers: list[Layer] = []
    for part in parts:
        if layers and (not layers[-1].block or not part.block):
            layers[-1] = layers[-1].joined(part)
        else:
            layers.append(part)
    return [replace(layer, block=None) for layer in layers]


def _repeats_blocks(module: nn.Module) -> bool:
    """Whether there is a list of blocks in a module."""
    return any(map(_lists_blocks, module.modules()))


def _lists_blocks(module: nn.Module) -> bool:
    """Whether two children are blocks of one class whose names differ by their number alone."""
    kinds = Counter(
        (type(child), COUNTER.sub("", name))
        for name, child in module.named_children()
        # branches of a block are plain sequences too, but attributes of their own
        if _matrices(child) > 1 and (isinstance(module, LISTS) or type(child) is not nn.Sequential)
    )
    return max(kinds.values(), default=0) > 1


def _matrices(module: nn.Module) -> int:
    """Return how many modules have weights of more than one dimension: a convolution is one."""
    return sum(
        any(parameter.ndim > 1 for parameter in part.parameters(recurse=False))
        for part in module.modules()
    )


def _only_holds_others(module: nn.Module) -> bool:
    own = next(module.parameters(recurse=False), None)
    return own is None and next(module.children(), None) is not None

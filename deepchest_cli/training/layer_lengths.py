"""How long the gradients of single tasks by a layer's weights are, without computing these.

With X (M, K) what the layer multiplies by its weights, and Y (M, C) a task's gradient by what comes
out, the gradient by the weights is Y^T X, and its squared length is the sum of all products of
Y Y^T and X X^T, number by number. X X^T is the same for all tasks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class WatchedLayer:
    """A linear or convolutional layer whose last input and output are remembered while watched."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        self.layer = layer
        self.inputs: Tensor | None = None
        self.output: Tensor | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Remember what passes; afterwards nothing is kept, and the layer is as it was."""
        handle = self.layer.register_forward_hook(self._remember)
        try:
            yield
        finally:
            handle.remove()
            self.inputs = self.output = None

    def _remember(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        if not output.requires_grad:
            return output
        self.inputs, self.output = inputs[0].detach(), output
        return output.clone()  # an activation may work in place, on what is passed on

    def is_worth_it(self, tasks: int) -> bool:
        """Whether this way takes fewer multiplications than the gradients themselves."""
        assert self.output is not None
        if isinstance(self.layer, nn.Conv2d) and self.layer.groups > 1:
            return False
        outputs, inputs = self.layer.weight.flatten(1).shape
        places = self.output.numel() // outputs  # M
        return places * (inputs + tasks * outputs) < tasks * inputs * outputs

    def lengths(self, features: Tensor, starts: Tensor) -> Tensor:
        """Return the lengths (T,) for the gradients `starts` (T, b, D) of tasks by the features.

        The features' graph is kept.
        """
        assert self.inputs is not None
        assert self.output is not None
        seen = self._multiplied(self.inputs)  # (M, K)
        shared = _products(seen)
        squares = []
        for start in starts:
            (found,) = torch.autograd.grad(features, self.output, start, retain_graph=True)
            arriving = _rows(found, isinstance(self.layer, nn.Conv2d))  # (M, C)
            squares.append((_products(arriving) * shared).sum())
        return torch.stack(squares).clamp(min=0).sqrt()

    def _multiplied(self, inputs: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Linear):
            return _rows(inputs, channels_first=False)
        padding = self.layer.padding
        assert not isinstance(padding, str)
        patches = F.unfold(  # in the order of the layer's weights
            inputs.float(),
            self.layer.kernel_size,
            self.layer.dilation,
            padding,
            self.layer.stride,
        )
        return _rows(patches, channels_first=True).to(inputs.dtype)


def _products(rows: Tensor) -> Tensor:
    """Return the products (M, M) of all rows with each other, in single precision."""
    if rows.dtype == torch.float16:  # where those of scaled gradients overflow
        rows = rows.float()
    return (rows @ rows.T).float()


def _rows(values: Tensor, channels_first: bool) -> Tensor:
    """Return the places of all images as rows, the channels as columns."""
    return (values.movedim(1, -1) if channels_first else values).flatten(0, -2)

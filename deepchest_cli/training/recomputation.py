"""Activation checkpointing: memory for time.

Chen et al. 2016, "Training deep nets with sublinear memory cost", arXiv 1604.06174: of each block
only the input is kept, and the backward pass computes the rest once more.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from deepchest_cli.config import RunConfig
from deepchest_cli.errors import UsageError
from deepchest_cli.model.layers import layers_of


def recompute_blocks(trunk: nn.Module, config: RunConfig) -> None:
    """With `--grad-checkpoint`, let the backward pass compute the blocks of a trunk again.

    Weights, statistics and random numbers are those of a step without it. Raises `UsageError` for a
    network without blocks, which keeps little but the inputs of its layers, and for `--compile`.
    """
    if not config.grad_checkpoint:
        return
    if config.compile:
        raise UsageError(
            "--grad-checkpoint and --compile exclude each other: a compiled model chooses itself "
            "what to compute again.",
            "Leave one of them out.",
        )
    blocks = [layer.block for layer in layers_of(trunk) if layer.block is not None]
    if not blocks:
        raise UsageError(
            f"--grad-checkpoint: {config.backbone} has no blocks that could be computed again.",
            "Use --grad-accum-steps 2 to save memory.",
        )
    for block in blocks:
        block.forward = _recomputed(block)


def _recomputed(block: nn.Module) -> Callable[..., Any]:
    forward = block.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _ReplacedBuffers(block)

    def recomputed(*inputs: Any, **more: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*inputs, **more)
        # a dense block adds to the list that it gives to its layers
        same = [list(value) if isinstance(value, list) else value for value in inputs]
        return checkpoint(forward, *same, use_reentrant=False, context_fn=contexts, **more)

    return recomputed


class _ReplacedBuffers:
    """Lets a second computation update copies: batch norm counts every batch once.

    It is entered anew by each backward pass through the same graph.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        self.kept = [
            (module, name, buffer)
            for module in self.block.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        for module, name, buffer in self.kept:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self.kept:
            setattr(module, name, buffer)

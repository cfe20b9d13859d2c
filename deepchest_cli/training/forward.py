"""The network at work on a step's radiographs: precision, random states, parts."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from deepchest_cli.training.setup import Setup

Outputs = tuple[Tensor, Tensor]  # features (b, D) and logits (b, T) of a part, with their graph
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


AUGMENTATION, DROPOUT = 1, 2  # what is drawn: never the same numbers for both


def seed_of(purpose: int, *place: int) -> int:
    """Return a seed that follows from what is drawn, a run's seed and a place in the run.

    So that no random state has to be remembered between steps.
    """
    return int(np.random.SeedSequence([purpose, *place]).generate_state(1, np.uint64)[0])


class Forward:
    """Computes the logits of parts of a step, this process's or those of all."""

    def __init__(self, setup: Setup, averages: bool = True) -> None:
        self.setup = setup
        classifier = setup.classifier
        if setup.config.compile:
            classifier.trunk.compile()  # what follows is small, and between the two a weighter may
            # want to step in
        # gradients go through this one, a look without them through the classifier itself
        self.network = setup.ranks.wrap(classifier, setup.device) if averages else classifier

    def outputs(self, radiographs: Tensor, step: int, number: int) -> Outputs:
        """Return features (b, D) and logits (b, T) of part `number` of a step, with their graph."""
        return self._compute(self.network, radiographs, step, number)

    @torch.no_grad()
    def all_logits(self, parts: list[Tensor], step: int) -> Tensor:
        """Return a step's logits (B, T) of all processes; no trace is left in the model."""
        classifier = self.setup.classifier
        with untouched_buffers(classifier):
            mine = [self._compute(classifier, part, step, n)[1] for n, part in enumerate(parts)]
        return self.setup.ranks.gather(torch.cat(mine))

    def _compute(self, network: nn.Module, part: Tensor, step: int, number: int) -> Outputs:
        setup = self.setup
        # dropout: alike however often this part of the step is looked at
        torch.manual_seed(seed_of(DROPOUT, setup.config.seed, step, setup.ranks.rank, number))
        dtype = DTYPES[setup.precision]
        with torch.autocast(setup.device.type, dtype, enabled=dtype != torch.float32):
            outputs: Outputs = network(part)
        return outputs


@contextmanager
def untouched_buffers(model: nn.Module) -> Iterator[None]:
    """Put batch norm's statistics back after a look at the model."""
    before = [buffer.clone() for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)

"""The forward pass of a step: precision, random states, micro-batches."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.weighting.loop import buffers_restored

Outputs = tuple[Tensor, Tensor]  # features (b, D) and logits of tasks (b, K) of a micro-batch
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUGMENTATION, DROPOUT = 1, 2  # purposes of random numbers: never the same numbers for both


def seed_of(purpose: int, *place: int) -> int:
    """Return the seed for a purpose, a run's seed and a place in the run.

    It replaces a random state that would have to be saved between steps.
    """
    return int(np.random.SeedSequence([purpose, *place]).generate_state(1, np.uint64)[0])


class Forward:
    """Computes features and logits of a step's micro-batches."""

    def __init__(self, components: TrainingComponents, average_gradients: bool = True) -> None:
        """average_gradients: let torch average the gradients over the processes."""
        self.components = components
        if components.config.compile:
            # not the head: some weighters need its input's gradient
            components.classifier.trunk.compile()
        self.network = components.network
        self.batch_norms = batch_norms_of(self.network)
        if average_gradients:
            self.network = components.distributed.wrap(self.network, components.device)

    def micro_batches(self, micro_batches: list[Tensor], step: int) -> Iterator[Outputs]:
        """Yield features (b, D) and logits (b, T) of each micro-batch, with their graph.

        Gradients are averaged over the processes with those of the last micro-batch.
        """
        for number, micro_batch in enumerate(micro_batches):
            if number < len(micro_batches) - 1:
                with self.components.distributed.no_sync(self.network):
                    yield self._compute(self.network, micro_batch, step, number)
            else:
                yield self._compute(self.network, micro_batch, step, number)

    def all_logits_first(
        self, micro_batches: list[Tensor], step: int
    ) -> tuple[Tensor, Iterator[Outputs]]:
        """Return the logits (B, T) of all processes, and what `micro_batches` yields.

        A single micro-batch is computed once; several are computed twice, first without a graph.
        """
        if len(micro_batches) > 1:
            return self.all_logits(micro_batches, step), self.micro_batches(micro_batches, step)
        (whole,) = self.micro_batches(micro_batches, step)
        return self.components.distributed.all_gather(whole[1].detach()), iter([whole])

    @torch.no_grad()
    def all_logits(self, micro_batches: list[Tensor], step: int) -> Tensor:
        """Return a step's logits (B, T) of all processes; the model's buffers stay as they are."""
        network = self.components.network
        with buffers_restored(network):
            local = [
                self._compute(network, micro_batch, step, number)[1]
                for number, micro_batch in enumerate(micro_batches)
            ]
        return self.components.distributed.all_gather(torch.cat(local))

    def _compute(self, network: nn.Module, inputs: Tensor, step: int, number: int) -> Outputs:
        components = self.components
        rank = components.distributed.rank
        # the same dropout however often this micro-batch is computed
        torch.manual_seed(seed_of(DROPOUT, components.config.seed, step, rank, number))
        dtype = DTYPES[components.precision]
        autocast = torch.autocast(components.device.type, dtype, enabled=dtype != torch.float32)
        with autocast, _batches_counted_at_once(self.batch_norms):
            features, logits = network(inputs)
        return features, components.tasks.expand(logits)


def batch_norms_of(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the batch norms of images that count batches for a checkpoint alone.

    Statistics move by a fixed momentum; without one the count would be their divisor.
    """
    return [
        module
        for module in network.modules()
        if type(module) is nn.BatchNorm2d  # a subclass may do as it likes
        and module.momentum is not None
        and module.num_batches_tracked is not None
    ]


@contextmanager
def _batches_counted_at_once(layers: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Let batch norms count their batch in one operation instead of one each.

    A GPU is bound by the launches of operations at small batches; ResNet-50 counts 53 times.
    """
    counting = [
        (layer, batches)
        for layer in layers
        if layer.training and (batches := layer.num_batches_tracked) is not None
    ]
    for layer, _ in counting:
        layer.num_batches_tracked = None
    try:
        yield
    finally:
        for layer, batches in counting:
            layer.num_batches_tracked = batches
    if counting:
        torch._foreach_add_([batches for _, batches in counting], 1)

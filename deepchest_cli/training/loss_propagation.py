"""The gradients of a step under a weighter of losses: one objective, one way back."""

import torch
from torch import Tensor

from deepchest_cli.data.batches import Batch
from deepchest_cli.training.propagation import Outcome, Propagation
from deepchest_cli.training.setup import Setup
from deepchest_cli.weighting import LossWeighter


class LossPropagation(Propagation):
    """Back-propagates the objective of a weighter of losses."""

    def __init__(self, setup: Setup, weighter: LossWeighter) -> None:
        super().__init__(setup)
        self.weighter = weighter

    def __call__(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Compute the gradients of step number `step`, see `Propagation`."""
        if len(parts) > 1 and self.weighter.additive:
            return self._part_by_part(parts, batch, step)
        return self._all_at_once(parts, batch, step)

    def _all_at_once(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Look at all logits first: the objective may weigh each part by the others."""
        logits, outputs = self.looked_at(parts, step)
        self.weighter.observe(logits, batch.labels, batch.known)
        losses, gradient = self.objective.gradient(self.weighter, logits, batch.labels, batch.known)
        for (_, mine), share in zip(outputs, self.shares(gradient, parts), strict=True):
            self.back(mine, share)
        return Outcome(losses, logits, self.weighter.weights)

    def _part_by_part(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Back-propagate each part at once: the objective is the sum of those of the parts."""
        labels, known = (self.shares(table, parts) for table in (batch.labels, batch.known))
        counts, seen = batch.known.sum(dim=0), []
        for number, (_, logits) in enumerate(self.outputs(parts, step)):
            seen.append(logits.detach())
            _, gradient = self.objective.gradient(
                self.weighter, seen[-1], labels[number], known[number], counts
            )
            self.back(logits, gradient)
        everyone = self.setup.ranks.gather(torch.cat(seen))
        self.weighter.observe(everyone, batch.labels, batch.known)
        losses = self.objective.losses(everyone, batch.labels, batch.known)
        return Outcome(losses, everyone, self.weighter.weights)

"""What happens to one batch: input, logits, losses, objective, update."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepchest_cli.data.augmentation import augment, draw, normalise, to_grey
from deepchest_cli.data.batches import Batch
from deepchest_cli.training.forward import AUGMENTATION, Forward, seed_of
from deepchest_cli.training.objective import Objective
from deepchest_cli.training.optimisation import learning_rate, set_rate
from deepchest_cli.training.setup import Setup
from deepchest_cli.weighting import TaskLosses


@dataclass(frozen=True)
class Outcome:
    """What a step has found before its update, the same in all processes."""

    losses: TaskLosses
    logits: Tensor  # (B, T)
    weights: Tensor | None  # (T,), as used


class TrainingStep:
    """Updates the model of a `Setup` with one batch after the other."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.forward = Forward(setup)
        self.objective = Objective(setup.weighter, setup.label_loss, setup.scaler)

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """Take step number `step` of the run; returns what was found before the update."""
        setup = self.setup
        parts = list(self._network_input(batch, step).chunk(setup.config.accumulate))
        set_rate(setup.optimizer, learning_rate(setup.config, step, setup.total_steps))
        setup.optimizer.zero_grad(set_to_none=True)
        if len(parts) == 1:
            outcome = self._whole(parts[0], batch, step)
        elif setup.weighter.additive:
            outcome = self._part_by_part(parts, batch, step)
        else:
            outcome = self._in_two_passes(parts, batch, step)
        self._update()
        setup.weighter.after_step(lambda: self._recompute(parts, batch, step))
        return outcome

    def _network_input(self, batch: Batch, step: int) -> Tensor:
        setup = self.setup
        grey = to_grey(batch.images, setup.classifier.architecture.image_size)
        if setup.augmentation is not None:
            # for the whole batch, however many processes share it
            generator = torch.Generator().manual_seed(
                seed_of(AUGMENTATION, setup.config.seed, step)
            )
            draws = draw(len(batch.labels), generator)
            grey = augment(grey, setup.augmentation, draws[:, self._mine(batch)])
        return normalise(grey, setup.classifier.architecture.normalisation)

    def _mine(self, batch: Batch) -> slice:
        """Return which rows of the batch are this process's."""
        first = self.setup.ranks.rank * len(batch.images)
        return slice(first, first + len(batch.images))

    def _whole(self, radiographs: Tensor, batch: Batch, step: int) -> Outcome:
        mine = self.forward.logits(radiographs, step, 0)
        logits = self.setup.ranks.gather(mine.detach())
        self.setup.weighter.observe(logits, batch.labels, batch.known)
        losses, gradient = self.objective.gradient(logits, batch.labels, batch.known)
        self._backward(mine, gradient[self._mine(batch)])
        return Outcome(losses, logits, self.objective.used)

    def _in_two_passes(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Look at all logits first: the objective may weigh each part by the others."""
        logits = self.forward.all_logits(parts, step)
        self.setup.weighter.observe(logits, batch.labels, batch.known)
        losses, gradient = self.objective.gradient(logits, batch.labels, batch.known)
        shares = torch.split(gradient[self._mine(batch)], [len(part) for part in parts])
        for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
            with self._synced(number == len(parts) - 1):
                self._backward(self.forward.logits(part, step, number), share)
        return Outcome(losses, logits, self.objective.used)

    def _part_by_part(self, parts: list[Tensor], batch: Batch, step: int) -> Outcome:
        """Back-propagate each part at once: the objective is the sum of those of the parts."""
        sizes, mine = [len(part) for part in parts], self._mine(batch)
        labels, known = (torch.split(t[mine], sizes) for t in (batch.labels, batch.known))
        counts, seen = batch.known.sum(dim=0), []
        for number, part in enumerate(parts):
            with self._synced(number == len(parts) - 1):
                logits = self.forward.logits(part, step, number)
                seen.append(logits.detach())
                _, gradient = self.objective.gradient(
                    seen[-1], labels[number], known[number], counts
                )
                self._backward(logits, gradient)
        everyone = self.setup.ranks.gather(torch.cat(seen))
        self.setup.weighter.observe(everyone, batch.labels, batch.known)
        losses = self.objective.losses(everyone, batch.labels, batch.known)
        return Outcome(losses, everyone, self.objective.used)

    def _synced(self, last: bool) -> AbstractContextManager[None]:
        """Average the gradients over the processes with the last part only."""
        return nullcontext() if last else self.setup.ranks.unsynced(self.forward.network)

    def _backward(self, logits: Tensor, gradient: Tensor) -> None:
        # the processes' gradients are averaged, and the objective is a sum over their radiographs
        torch.autograd.backward(logits, gradient.to(logits.dtype) * self.setup.ranks.count)

    def _update(self) -> None:
        setup = self.setup
        if setup.config.clip_norm:
            setup.scaler.unscale_(setup.optimizer)
            nn.utils.clip_grad_norm_(setup.classifier.parameters(), setup.config.clip_norm)
        setup.scaler.step(setup.optimizer)
        setup.scaler.update()
        if setup.average is not None:
            setup.average.update_parameters(setup.classifier)

    def _recompute(self, parts: list[Tensor], batch: Batch, step: int) -> TaskLosses:
        """Return the losses of the same batch after the update, computed as before it."""
        logits = self.forward.all_logits(parts, step)
        return self.objective.losses(logits, batch.labels, batch.known)

"""What happens to one batch: input, logits, losses, objective, update."""

import numpy as np
import torch
from torch import Tensor

from deepchest_cli.data.augmentation import Augmentation, augment, normalise, to_grey
from deepchest_cli.data.batches import Batch
from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.checkpoint import LAST
from deepchest_cli.training.losses import task_losses
from deepchest_cli.training.setup import Setup
from deepchest_cli.weighting import TaskLosses


class TrainingStep:
    """Updates the model of a `Setup` with one batch after the other."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.augmentation = Augmentation(flip=setup.config.flip) if setup.config.augment else None

    def __call__(self, batch: Batch, step: int, place: str) -> tuple[TaskLosses, Tensor]:
        """Take step number `step` of the run; return the losses and the logits (B, T) before it.

        Raises `DeepChestError`, naming the findings and `place`, when a loss is not finite; the
        model is then as it was.
        """
        setup = self.setup
        radiographs = self._network_input(batch, step)
        logits = self._logits(radiographs)
        losses = task_losses(logits, batch.labels, batch.known)
        self._refuse_non_finite(losses, place)
        setup.weighter.observe(logits.detach(), batch.labels, batch.known)
        objective = setup.weighter(losses)
        setup.optimizer.zero_grad(set_to_none=True)
        objective.backward()
        setup.optimizer.step()
        setup.schedule.step()
        setup.weighter.after_step(lambda: self._recompute(radiographs, batch))
        return losses, logits.detach()

    def _network_input(self, batch: Batch, step: int) -> Tensor:
        architecture = self.setup.classifier.architecture
        grey = to_grey(batch.images, architecture.image_size)
        if self.augmentation is not None:
            # seeded by the step, so that nothing has to be remembered between steps
            words = np.random.SeedSequence([self.setup.config.seed, step])
            seed = int(words.generate_state(1, np.uint64)[0])
            grey = augment(grey, self.augmentation, torch.Generator().manual_seed(seed))
        return normalise(grey, architecture.normalisation)

    def _logits(self, radiographs: Tensor) -> Tensor:
        low = self.setup.precision == "bf16"
        with torch.autocast(self.setup.device.type, torch.bfloat16, enabled=low):
            logits: Tensor = self.setup.classifier(radiographs)[1]
        return logits

    @torch.no_grad()
    def _recompute(self, radiographs: Tensor, batch: Batch) -> TaskLosses:
        """Return the losses of the same batch after the update, computed as before it; batch-norm
        statistics and random states are put back.
        """
        classifier, device = self.setup.classifier, self.setup.device
        before = [buffer.clone() for buffer in classifier.buffers()]
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            losses = task_losses(self._logits(radiographs), batch.labels, batch.known)
        for buffer, value in zip(classifier.buffers(), before, strict=True):
            buffer.copy_(value)
        return losses

    def _refuse_non_finite(self, losses: TaskLosses, place: str) -> None:
        wrong = ~torch.isfinite(losses.values)
        if wrong.any():
            names = [f for f, bad in zip(self.setup.dataset.findings, wrong, strict=True) if bad]
            raise DeepChestError(
                f"The loss of {', '.join(names)} is not finite in {place}.",
                f"Lower --learning-rate; the last good state is in the run's {LAST}.",
            )

"""One training step: input, forward and backward pass, update."""

import torch
from torch import Tensor, nn

from deepchest_cli.data.augmentation import augment, draw, normalize, to_gray
from deepchest_cli.data.batches import Batch
from deepchest_cli.training.backward import (
    BackwardStrategy,
    FeatureBackward,
    LossBackward,
    StepResult,
)
from deepchest_cli.training.backward_parameters import GivenWeightsBackward, ParameterBackward
from deepchest_cli.training.components import TrainingComponents
from deepchest_cli.training.forward import AUGMENTATION, seed_of
from deepchest_cli.training.optimization import learning_rate, set_learning_rate
from deepchest_cli.weighting import GradientWeighter, LossWeighter, TaskLosses


class TrainingStep:
    """Updates the model of a run with one batch after the other."""

    def __init__(self, components: TrainingComponents) -> None:
        self.components = components
        self.backward = choose_backward(components)

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Take step number `step` of the run; returns losses and logits from before the update."""
        components, config = self.components, self.components.config
        micro_batches = list(self._network_input(batch, step).chunk(config.grad_accum_steps))
        rate = learning_rate(config, step, components.total_steps)
        set_learning_rate(components.optimizer, rate)
        components.optimizer.zero_grad(set_to_none=True)
        result = self.backward(micro_batches, batch, step)
        self._update()
        components.weighter.after_step(lambda: self._recompute(micro_batches, batch, step))
        return result

    def _network_input(self, batch: Batch, step: int) -> Tensor:
        """Return this process's radiographs (b, 1, S, S), augmented and normalized.

        The input of a linear probe is what its reader gives.
        """
        components = self.components
        if components.heads is not None:
            return batch.images
        architecture = components.classifier.architecture
        gray = to_gray(batch.images, architecture.image_size)
        normalization = architecture.normalization
        if components.augmentation is None:
            return normalize(gray, normalization)
        # drawn for the whole batch, however many processes share it
        seed = seed_of(AUGMENTATION, components.config.seed, step)
        draws = draw(len(batch.labels), torch.Generator().manual_seed(seed))
        first = components.distributed.rank * len(batch.images)
        local = draws[:, first : first + len(batch.images)]
        return augment(gray, components.augmentation, local, normalization)

    def _update(self) -> None:
        components, max_norm = self.components, self.components.config.clip_grad_norm
        if max_norm:
            components.scaler.unscale_(components.optimizer)
            nn.utils.clip_grad_norm_(components.classifier.parameters(), max_norm)
        components.scaler.step(components.optimizer)  # calls optimizer.step()
        components.scaler.update()
        if components.ema_model is not None:
            components.ema_model.update_parameters(components.classifier)

    def _recompute(self, micro_batches: list[Tensor], batch: Batch, step: int) -> TaskLosses:
        """Return the losses of the same batch after the update, computed as before it."""
        return self.backward.losses(self.backward.forward.all_logits(micro_batches, step), batch)


def choose_backward(components: TrainingComponents) -> BackwardStrategy:
    """Return the backward strategy that the run's weighter needs."""
    weighter = components.weighter
    if isinstance(weighter, LossWeighter):
        return LossBackward(components, weighter)
    assert isinstance(weighter, GradientWeighter)
    if weighter.uses_previous_weights:
        return GivenWeightsBackward(components, weighter)
    if components.config.gradient_level == "parameters":
        return ParameterBackward(components, weighter)
    return FeatureBackward(components, weighter)

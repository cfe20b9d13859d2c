"""What happens to one batch: input, logits, losses, objective, update."""

import torch
from torch import Tensor, nn

from deepchest_cli.data.augmentation import augment, draw, normalize, to_gray
from deepchest_cli.data.batches import Batch
from deepchest_cli.training.forward import AUGMENTATION, seed_of
from deepchest_cli.training.loss_propagation import LossPropagation
from deepchest_cli.training.optimization import learning_rate, set_rate
from deepchest_cli.training.parameter_propagation import AheadPropagation, ParameterPropagation
from deepchest_cli.training.propagation import Outcome, Propagation
from deepchest_cli.training.setup import Setup
from deepchest_cli.training.task_propagation import FeaturePropagation
from deepchest_cli.weighting import GradientWeighter, LossWeighter, TaskLosses


class TrainingStep:
    """Updates the model of a `Setup` with one batch after the other."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.propagate = choose_propagation(setup)

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """Take step number `step` of the run; returns what was found before the update."""
        setup = self.setup
        parts = list(self._network_input(batch, step).chunk(setup.config.grad_accum_steps))
        set_rate(setup.optimizer, learning_rate(setup.config, step, setup.total_steps))
        setup.optimizer.zero_grad(set_to_none=True)
        outcome = self.propagate(parts, batch, step)
        self._update()
        setup.weighter.after_step(lambda: self._recompute(parts, batch, step))
        return outcome

    def _network_input(self, batch: Batch, step: int) -> Tensor:
        setup = self.setup
        gray = to_gray(batch.images, setup.classifier.architecture.image_size)
        if setup.augmentation is not None:
            # for the whole batch, however many processes share it
            generator = torch.Generator().manual_seed(
                seed_of(AUGMENTATION, setup.config.seed, step)
            )
            draws = draw(len(batch.labels), generator)
            first = setup.ranks.rank * len(batch.images)
            mine = draws[:, first : first + len(batch.images)]
            gray = augment(gray, setup.augmentation, mine)
        return normalize(gray, setup.classifier.architecture.normalization)

    def _update(self) -> None:
        setup = self.setup
        if setup.config.clip_grad_norm:
            setup.scaler.unscale_(setup.optimizer)
            nn.utils.clip_grad_norm_(setup.classifier.parameters(), setup.config.clip_grad_norm)
        setup.scaler.step(setup.optimizer)
        setup.scaler.update()
        if setup.average is not None:
            setup.average.update_parameters(setup.classifier)

    def _recompute(self, parts: list[Tensor], batch: Batch, step: int) -> TaskLosses:
        """Return the losses of the same batch after the update, computed as before it."""
        logits = self.propagate.forward.all_logits(parts, step)
        return self.propagate.objective.losses(logits, batch.labels, batch.known)


def choose_propagation(setup: Setup) -> Propagation:
    """Return the way in which the run's weighter comes to the gradients of a step."""
    weighter = setup.weighter
    if isinstance(weighter, LossWeighter):
        return LossPropagation(setup, weighter)
    assert isinstance(weighter, GradientWeighter)
    if weighter.uses_previous_weights:
        return AheadPropagation(setup, weighter)
    if setup.config.gradient_level == "parameters":
        return ParameterPropagation(setup, weighter)
    return FeaturePropagation(setup, weighter)

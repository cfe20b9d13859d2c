"""Adam over a weighter's own values, which the optimizer of the model must not update."""

import torch
from torch import Tensor, nn

MEAN, SQUARE = 0.9, 0.999  # how much of the moments each step keeps
EPSILON = 1e-8


class InnerAdam(nn.Module):
    """Updates a weighter's buffer (T,) by gradients that the weighter computes itself.

    Kingma and Ba 2015, "Adam: a method for stochastic optimization", algorithm 1. Beside torch's
    own it can be told on the device, without waiting for it, that a step is none.
    """

    mean: Tensor
    square: Tensor
    steps: Tensor

    def __init__(self, values: Tensor, learning_rate: float, decay: float = 0.0) -> None:
        super().__init__()
        self.learning_rate, self.decay = learning_rate, decay
        for name in ("mean", "square"):
            self.register_buffer(name, torch.zeros_like(values))
        self.register_buffer("steps", values.new_zeros(()))

    def descend(self, values: Tensor, gradient: Tensor, valid: Tensor | None = None) -> None:
        """Take a step with `values`, in place; where `valid` () is False nothing changes."""
        gradient = gradient + self.decay * values
        steps = self.steps + 1
        mean = self.mean.lerp(gradient, 1 - MEAN)
        square = SQUARE * self.square + (1 - SQUARE) * gradient**2
        length = (square / (1 - SQUARE**steps)).sqrt() + EPSILON
        moved = values - self.learning_rate / (1 - MEAN**steps) * mean / length
        pairs = ((self.steps, steps), (self.mean, mean), (self.square, square), (values, moved))
        for old, new in pairs:
            old.copy_(new if valid is None else torch.where(valid, new, old))

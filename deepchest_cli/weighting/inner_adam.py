"""Adam over a weighter's own values, which the optimizer of the model must not update."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class InnerAdam(nn.Module):
    """Updates a weighter's buffer (T,) by gradients that the weighter computes itself."""

    def __init__(self, values: Tensor, learning_rate: float, decay: float = 0.0) -> None:
        super().__init__()
        self.learning_rate, self.decay = learning_rate, decay
        self.adam = self._optimizer(values)

    def _optimizer(self, values: Tensor) -> torch.optim.Adam:
        return torch.optim.Adam([values], lr=self.learning_rate, weight_decay=self.decay)

    def descend(self, values: Tensor, gradient: Tensor) -> None:
        """Take a step with `values`, in place."""
        if self.adam.param_groups[0]["params"][0] is not values:
            # moving the weighter to another device makes a new tensor
            state = self.get_extra_state()
            self.adam = self._optimizer(values)
            self.set_extra_state(state)
        values.grad = gradient
        self.adam.step()
        values.grad = None

    def get_extra_state(self) -> dict[str, Any]:
        """Return the moments and the step number."""
        state: dict[str, Any] = self.adam.state_dict()["state"]
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore moments and step number, as copies; rate and decay stay."""
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": copy.deepcopy(state), "param_groups": groups})

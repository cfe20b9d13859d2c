"""Adam over numbers of a weighter's own, which the optimizer of the model is not to touch."""

import copy
from typing import Any

import torch
from torch import Tensor


class InnerAdam:
    """Moves a weighter's buffer (T,) against gradients that the weighter works out itself."""

    def __init__(self, values: Tensor, learning_rate: float, decay: float = 0.0) -> None:
        self.learning_rate, self.decay = learning_rate, decay
        self.adam = self._over(values)

    def _over(self, values: Tensor) -> torch.optim.Adam:
        return torch.optim.Adam([values], lr=self.learning_rate, weight_decay=self.decay)

    def descend(self, values: Tensor, gradient: Tensor) -> None:
        """Take a step with `values`, in place."""
        if self.adam.param_groups[0]["params"][0] is not values:
            # the weighter has been moved to another device, which makes a new tensor
            state = self.state()
            self.adam = self._over(values)
            self.load(state)
        values.grad = gradient
        self.adam.step()
        values.grad = None

    def state(self) -> dict[str, Any]:
        """Return the moments and the step number."""
        state: dict[str, Any] = self.adam.state_dict()["state"]
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Take up moments and step number, as copies; rate and decay are those of this weighter."""
        groups = self.adam.state_dict()["param_groups"]
        self.adam.load_state_dict({"state": copy.deepcopy(state), "param_groups": groups})

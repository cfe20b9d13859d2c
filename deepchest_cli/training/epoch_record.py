"""What a training epoch has seen so far, kept so that its figures survive an interruption."""

from typing import Any

import torch
from torch import Tensor

from deepchest_cli.training.losses import task_losses


class EpochRecord:
    """Running sums and means per finding (T,), on the model's device: nothing waits for them."""

    def __init__(self, findings: int, device: torch.device) -> None:
        # not float64: Metal has none; counts stay exact up to 2**24 images
        zeros = torch.zeros(findings, device=device)
        self.sums = {"loss": zeros.clone(), "correct": zeros.clone(), "known": zeros.clone()}
        # of the weights, which are kept in double precision where the device has it
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.sums |= {"weights": zeros.to(kind), "weighed": zeros.to(kind)}

    def add(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Take in a batch, each (B, T); the loss is the cross-entropy, as in validation."""
        losses = task_losses(logits, labels, known)
        correct = ((logits > 0) == (labels > 0)) & known
        self.sums["loss"] += losses.values * losses.known
        self.sums["correct"] += correct.sum(dim=0)
        self.sums["known"] += losses.known

    def add_weights(self, weights: Tensor | None) -> None:
        """Take in the weights (T,) that a step used; None of a method that has none."""
        if weights is not None:
            mean, count = self.sums["weights"], self.sums["weighed"]
            count += 1
            # a running mean: weights that stay the same are the same to the last digit
            mean += (weights.to(mean.dtype).to(mean.device) - mean) / count

    def mean_weights(self) -> Tensor | None:
        """Return the mean of the steps' weights (T,); None where there were none."""
        return self.sums["weights"].cpu().double() if self.sums["weighed"].any() else None

    def performance(self) -> dict[str, Tensor]:
        """Return the epoch's `loss` and `accuracy` (T,) in double precision; NaN: nothing known."""
        sums = {name: value.cpu().double() for name, value in self.sums.items()}
        return {
            "loss": sums["loss"] / sums["known"],
            "accuracy": sums["correct"] / sums["known"],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the sums for a checkpoint."""
        return dict(self.sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the sums of a checkpoint."""
        for name, value in state.items():
            self.sums[name].copy_(value)

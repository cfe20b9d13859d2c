"""Watches that losses stay finite without making a GPU wait in every step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.errors import DivergedError

EVERY = 50  # steps between two looks where a look waits for the device


class LossWatch:
    """Remembers, on the device, the first step with a loss that is not finite."""

    def __init__(self, findings: Sequence[str], device: torch.device) -> None:
        self.findings = findings
        self.every = 1 if device.type == "cpu" else EVERY
        self.first = torch.full((), -1, dtype=torch.int64, device=device)  # step of the epoch
        self.wrong = torch.zeros(len(findings), dtype=torch.bool, device=device)

    def see(self, losses: Tensor, epoch: int, step: int) -> None:
        """Take in the losses (T,) of a step, both counted from 1; look at them now and then."""
        wrong = ~torch.isfinite(losses)
        new = wrong.any() & (self.first < 0)
        self.first = torch.where(new, step, self.first)
        self.wrong = torch.where(new, wrong, self.wrong)
        if step % self.every == 0:
            self.look(epoch)

    def look(self, epoch: int) -> None:
        """Raise `DivergedError` with findings and place if there was a loss that is not finite."""
        if int(self.first) < 0:
            return
        names = [name for name, bad in zip(self.findings, self.wrong, strict=True) if bad]
        raise DivergedError(
            f"The loss of {', '.join(names)} is not finite in batch {int(self.first)} of epoch "
            f"{epoch}.",
            "Begin a new run with a lower --learning-rate, or with --clip-grad-norm 1.",
        )

"""How well each task does, measured from logits, and the window of steps it is measured on."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from deepchest_cli.errors import UsageError, unknown_name


def measure(signal: str, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return a signal (T,) in double precision from tables (N, T); NaN where it is undefined.

    logits: a finding is predicted where its logit is above zero, which is a probability of 0.5.
    known: only these entries count.

    Raises `UsageError` for an unknown signal.
    """
    if signal not in SIGNALS:
        raise unknown_name("signal", signal, SIGNALS)
    if logits.device.type == "mps":  # Metal has no double precision
        logits, labels, known = logits.cpu(), labels.cpu(), known.cpu()
    values = [
        SIGNALS[signal](scores[seen], positive[seen])
        for scores, positive, seen in zip(
            logits.detach().double().T, (labels > 0).T, known.bool().T, strict=True
        )
    ]
    return torch.stack(values)


def _accuracy(logits: Tensor, positive: Tensor) -> Tensor:
    return ((logits > 0) == positive).double().mean()


def _balanced_accuracy(logits: Tensor, positive: Tensor) -> Tensor:
    """The mean of sensitivity and specificity; needs both classes."""
    sensitivity = (logits[positive] > 0).double().mean()
    specificity = (logits[~positive] <= 0).double().mean()
    return (sensitivity + specificity) / 2


def _f1(logits: Tensor, positive: Tensor) -> Tensor:
    """2 TP / (predicted + actual positives); needs a positive."""
    predicted, actual = logits > 0, positive.sum()
    score = 2 * (predicted & positive).sum() / (predicted.sum() + actual).double()
    return torch.where(actual > 0, score, torch.nan)


def _auroc(logits: Tensor, positive: Tensor) -> Tensor:
    """The chance that a positive scores above a negative, ties counting half; needs both."""
    negatives, positives = logits[~positive].sort().values, logits[positive]
    below = torch.searchsorted(negatives, positives)
    tied_or_below = torch.searchsorted(negatives, positives, right=True)
    return (below + tied_or_below).double().mean() / (2 * len(negatives))


def _average_precision(logits: Tensor, positive: Tensor) -> Tensor:
    """The precision at the score of each positive, averaged; needs a positive."""
    positives = logits[positive].sort().values
    found = len(positives) - torch.searchsorted(positives, positives)
    predicted = len(logits) - torch.searchsorted(logits.sort().values, positives)
    return (found.double() / predicted).mean()


def _loss(logits: Tensor, positive: Tensor) -> Tensor:
    """The mean binary cross-entropy in nats."""
    return F.binary_cross_entropy_with_logits(logits, positive.double())


def _loss_ratio(logits: Tensor, positive: Tensor) -> Tensor:
    """The loss divided by H(p) = -p ln p - (1 - p) ln(1 - p), p the prevalence; needs both.

    H(p) is the loss of the best constant prediction: at 1 a model has learned nothing but p.
    """
    p = positive.double().mean()
    entropy = torch.special.entr(torch.stack([p, 1 - p])).sum()
    return torch.where(entropy > 0, _loss(logits, positive) / entropy, torch.nan)


# of a task's known logits and labels (n,); without any all are NaN, as are means of nothing
SIGNALS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "accuracy": _accuracy,
    "balanced-accuracy": _balanced_accuracy,
    "f1": _f1,
    "auroc": _auroc,
    "average-precision": _average_precision,
    "loss": _loss,
    "normalized-cross-entropy": _loss_ratio,
}


class Observed:
    """The logits, labels and known marks of some steps, each (B, T)."""

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Take in a step; nothing of the caller's is kept."""
        self.steps.append((logits.detach().float().clone(), labels > 0, known.bool().clone()))

    def joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, labels and known marks (N, T) of all steps.

        Raises `UsageError` when there is none.
        """
        if not self.steps:
            raise UsageError(
                "No step has been observed.", "Call observe(logits, labels, known) once a step."
            )
        device = self.steps[-1][0].device  # a checkpoint's steps may lie on another
        logits, labels, known = (
            torch.cat([part.to(device) for part in column])
            for column in zip(*self.steps, strict=True)
        )
        return logits, labels, known

    def clear(self) -> None:
        """Forget all steps."""
        self.steps = []

    def state(self) -> dict[str, Tensor]:
        """Return what `load` takes, for a checkpoint; empty without a step."""
        if not self.steps:
            return {}
        return dict(zip(("logits", "labels", "known"), self.joined(), strict=True))

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take up the steps of a checkpoint in place of those seen so far."""
        self.steps = [(state["logits"], state["labels"], state["known"])] if state else []

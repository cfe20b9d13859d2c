"""Signals of how well each task does: measured from logits, or taken from an epoch's metrics."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import MIN_LOSS, Performance, check_option, to_like

TREND = "loss-trend"
SPLITS = ("train", "validation")


def measure(signal: str, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return a signal (T,) in double precision from tables (N, T); NaN where it is undefined.

    logits: a finding is predicted where its logit is above zero, which is a probability of 0.5.
    known: only these entries count.

    Raises `UsageError` for an unknown signal.
    """
    if signal not in SIGNALS:
        raise unknown_name("signal", signal, SIGNALS)
    positive, known = labels > 0, known.bool()
    logits = logits.detach()
    if logits.device.type == "mps":  # which has no double precision; one copy is one wait
        logits = torch.stack([logits.float(), positive.float(), known.float()]).cpu()
        logits, positive, known = logits[0], logits[1] > 0, logits[2] > 0
    return SIGNALS[signal](logits.T, (positive & known).T, (known & ~positive).T)


def _accuracy(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    right = torch.where(logits > 0, positive, negative)
    return right.sum(dim=1).double() / (positive | negative).sum(dim=1)


def _balanced_accuracy(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean of sensitivity and specificity; needs both classes."""
    sensitivity = ((logits > 0) & positive).sum(dim=1).double() / positive.sum(dim=1)
    specificity = ((logits <= 0) & negative).sum(dim=1).double() / negative.sum(dim=1)
    return (sensitivity + specificity) / 2


def _f1(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """2 TP / (predicted + actual positives); needs a positive."""
    predicted, actual = (logits > 0) & (positive | negative), positive.sum(dim=1)
    score = 2 * (predicted & positive).sum(dim=1) / (predicted.sum(dim=1) + actual).double()
    return torch.where(actual > 0, score, torch.nan)


def _ranked(logits: Tensor, positive: Tensor, negative: Tensor) -> list[Tensor]:
    """Return the known labels (T, N) in rising order of logits, and what lies below each.

    Positive, negative, the number of positives with a lower logit, that of negatives.
    """
    known = positive | negative
    ranked, order = logits.contiguous().masked_fill(~known, math.inf).sort(dim=1)
    is_tied = F.pad(ranked[:, 1:] == ranked[:, :-1], (1, 0))
    places = torch.arange(ranked.shape[1], device=ranked.device)
    first = places.masked_fill(is_tied, 0).cummax(dim=1).values  # of each run of ties
    labels = [positive.gather(1, order), negative.gather(1, order)]
    below = [(chosen.cumsum(dim=1) - chosen.long()).gather(1, first) for chosen in labels]
    return [*labels, *below]


def _auroc(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The probability that a positive scores above a negative, ties counting half; needs both."""
    positive, negative, positives_below, negatives_below = _ranked(logits, positive, negative)
    count = positive.sum(dim=1, keepdim=True)
    above = torch.where(positive, negatives_below, 0).sum(dim=1)
    above_or_tied = torch.where(negative, count - positives_below, 0).sum(dim=1)
    return (above + above_or_tied).double() / (2 * count[:, 0] * negative.sum(dim=1))


def _average_precision(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The precision at the score of each positive, averaged; needs a positive."""
    positive, negative, positives_below, negatives_below = _ranked(logits, positive, negative)
    count = positive.sum(dim=1, keepdim=True)
    true = (count - positives_below).double()
    false = negative.sum(dim=1, keepdim=True) - negatives_below
    return torch.where(positive, true / (true + false), 0.0).sum(dim=1) / count[:, 0]


def _loss(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean binary cross-entropy in nats."""
    losses = F.binary_cross_entropy_with_logits(
        logits.double(), positive.double(), reduction="none"
    )
    known = positive | negative
    return torch.where(known, losses, 0.0).sum(dim=1) / known.sum(dim=1)


def _normalized_cross_entropy(logits: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The loss divided by H(p) = -p ln p - (1 - p) ln(1 - p), p the prevalence; needs both.

    H(p) is the loss of the best constant prediction: at 1 a model has learned nothing but p.
    """
    p = positive.sum(dim=1).double() / (positive | negative).sum(dim=1)
    entropy = torch.special.entr(p) + torch.special.entr(1 - p)
    return torch.where(entropy > 0, _loss(logits, positive, negative) / entropy, torch.nan)


# of tables (T, N): logits, and which are of known positives and negatives; without any NaN, which
# is 0 / 0. No choice of entries by a mask: the host would wait for a GPU to know their number.
SIGNALS: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "accuracy": _accuracy,
    "balanced-accuracy": _balanced_accuracy,
    "f1": _f1,
    "auroc": _auroc,
    "average-precision": _average_precision,
    "loss": _loss,
    "normalized-cross-entropy": _normalized_cross_entropy,
}


class SignalSource(nn.Module):
    """DeepChest's signal (T,) when an update is due: an epoch's metric, or measured on its steps.

    `DeepChestWeighter` describes the options. The signal `loss-trend` is
    L_i(e) / L_i(e - trend_epochs), L_i(e) the mean loss of epoch e.
    """

    def __init__(self, signal: str, split: str, every: int, trend_epochs: int) -> None:
        super().__init__()
        _check_options(signal, split, every, trend_epochs)
        self.signal, self.split, self.every = signal, split, every
        self.metric = "loss" if signal == TREND else signal
        # every training loop has accuracy and loss
        is_given = split == "validation" or self.metric in ("accuracy", "loss")
        self.collects = every > 0 or not is_given
        self.observed: list[tuple[Tensor, Tensor, Tensor]] = []  # steps since the last update
        self.past: deque[Tensor] = deque(maxlen=trend_epochs)  # the losses of the last epochs
        self.step = 0  # since the last update

    @property
    def more_is_worse(self) -> bool:
        """Whether a task with a large signal is one to be raised."""
        return self.metric in ("loss", "normalized-cross-entropy")

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Collect copies of a step's tables, each (B, T), where the signal needs them."""
        if self.collects:
            step = (logits.detach().float().clone(), labels > 0, known.bool().clone())
            self.observed.append(step)

    def after_step(self) -> Tensor | None:
        """Return the signal (T,) of the last `every` steps when they are complete."""
        if not self.every:
            return None
        self.step += 1
        if self.step < self.every:
            return None
        self.step = 0
        return self._measured()

    def end_epoch(self, performance: Performance) -> Tensor | None:
        """Return the signal (T,) of the epoch; None with `every`, or before a trend exists."""
        if self.every:
            return None
        values = self._of_epoch(performance)
        self.observed = []
        return self._trend(values) if self.signal == TREND else values

    def _of_epoch(self, performance: Performance) -> Tensor:
        key = self.metric.replace("-", "_")
        given = performance.training if self.split == "train" else performance.validation
        if key in given:
            return given[key].detach().cpu().double()
        if self.collects:
            return self._measured()
        raise UsageError(
            f"The signal {self.signal!r} of deepchest needs the {self.split} {key!r} of each "
            "epoch.",
            f"Given: {', '.join(given) or 'nothing'}.",
        )

    def _measured(self) -> Tensor:
        if not self.observed:
            raise UsageError(
                "No step has been observed.", "Call observe(logits, labels, known) once a step."
            )
        values = measure(self.metric, *self._joined())
        self.observed = []
        return values

    def _trend(self, losses: Tensor) -> Tensor | None:
        complete = len(self.past) == self.past.maxlen
        trend = losses / to_like(self.past[0], losses).clamp(min=MIN_LOSS) if complete else None
        self.past.append(losses.clone())
        return trend

    def _joined(self) -> list[Tensor]:
        """Return logits, labels and label mask (N, T) of all observed steps."""
        device = self.observed[-1][0].device  # a checkpoint's steps may lie on another
        columns = zip(*self.observed, strict=True)
        return [torch.cat([step.to(device) for step in column]) for column in columns]

    def get_extra_state(self) -> dict[str, Any]:
        """Return observed steps and past losses in tensors and plain values."""
        observed = self._joined() if self.observed else []
        return {"step": self.step, "past": list(self.past), "observed": observed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.step = state["step"]
        self.past = deque(state["past"], maxlen=self.past.maxlen)
        self.observed = [tuple(state["observed"])] if state["observed"] else []


def _check_options(signal: str, split: str, every: int, trend_epochs: int) -> None:
    if signal not in (*SIGNALS, TREND):
        raise unknown_name("signal of deepchest:", signal, (*SIGNALS, TREND))
    if split not in SPLITS:
        raise unknown_name("split of deepchest:", split, SPLITS)
    for name, value, least in (("every", every, 0), ("trend_epochs", trend_epochs, 1)):
        check_option("deepchest", name, value, value >= least, f"at least {least}")
    for case, applies, hint in (
        ("split=validation", split == "validation", "Validation runs at an epoch's end only."),
        (f"signal={TREND}", signal == TREND, "The trend compares mean losses of whole epochs."),
    ):
        is_valid = not (every and applies)
        check_option("deepchest", "every", every, is_valid, f"0 with {case}", hint)

"""Where DeepChest's signal comes from: an epoch's figures, or the steps observed since the last."""

from collections import deque
from typing import Any

from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import SMALLEST, Performance
from deepchest_cli.weighting.signals import SIGNALS, Observed, measure

TREND = "loss-trend"
NAMES = (*SIGNALS, TREND)
PARTS = ("training", "validation")


class SignalSource:
    """Gives the signal (T,) when an update is due; `DeepChestWeighter` says what the options are.

    The signal `loss-trend` is L_i(e) / L_i(e - trend_epochs), L_i(e) the mean loss of epoch e.
    """

    def __init__(self, signal: str, part: str, every: int, trend_epochs: int) -> None:
        _check(signal, part, every, trend_epochs)
        self.signal, self.part, self.every = signal, part, every
        self.metric = "loss" if signal == TREND else signal  # what is asked of an epoch
        # an epoch's accuracy and loss every training loop has at hand
        at_hand = part == "validation" or self.metric in ("accuracy", "loss")
        self.collects = every > 0 or not at_hand
        self.window = Observed()
        self.past: deque[Tensor] = deque(maxlen=trend_epochs)  # the losses of the last epochs
        self.step = 0  # since the last update

    @property
    def more_is_worse(self) -> bool:
        """Whether a task with a large signal is one to be raised."""
        return self.metric.startswith("loss")

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Collect a step, each (B, T), where the signal needs it."""
        if self.collects:
            self.window.add(logits, labels, known)

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
        """Return the signal (T,) of the epoch; None under `every`, or without a past to compare."""
        if self.every:
            return None
        values = self._of_epoch(performance)
        self.window.clear()
        return self._trend(values) if self.signal == TREND else values

    def _of_epoch(self, performance: Performance) -> Tensor:
        key = self.metric.replace("-", "_")
        given = performance.training if self.part == "training" else performance.validation
        if key in given:
            return given[key].detach().double().cpu()
        if self.collects:
            return self._measured()
        raise UsageError(
            f"The signal {self.signal!r} of deepchest needs the {self.part} {key!r} of each epoch.",
            f"Given: {', '.join(given) or 'nothing'}.",
        )

    def _measured(self) -> Tensor:
        values = measure(self.metric, *self.window.joined())
        self.window.clear()
        return values

    def _trend(self, losses: Tensor) -> Tensor | None:
        complete = len(self.past) == self.past.maxlen
        trend = losses / self.past[0].to(losses).clamp(min=SMALLEST) if complete else None
        self.past.append(losses.clone())
        return trend

    def state(self) -> dict[str, Any]:
        """Return what `load` takes, in tensors and plain values."""
        return {"step": self.step, "past": list(self.past), "window": self.window.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.step = state["step"]
        self.past = deque(state["past"], maxlen=self.past.maxlen)
        self.window.load(state["window"])


def _check(signal: str, part: str, every: int, trend_epochs: int) -> None:
    if signal not in NAMES:
        raise unknown_name("signal of deepchest:", signal, NAMES)
    if part not in PARTS:
        raise unknown_name("part of deepchest:", part, PARTS)
    for name, value, least in (("every", every, 0), ("trend_epochs", trend_epochs, 1)):
        if value < least:
            raise UsageError(
                f"Option {name!r} of deepchest should be at least {least}. Found {value}."
            )
    if every and part == "validation":
        raise UsageError(
            f"Option 'every' of deepchest should be 0 with part=validation. Found {every}.",
            "Validation happens at an epoch's end only.",
        )
    if every and signal == TREND:
        raise UsageError(
            f"Option 'every' of deepchest should be 0 with signal={TREND}. Found {every}.",
            "The trend compares the mean losses of whole epochs.",
        )

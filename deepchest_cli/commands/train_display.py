"""The display of a run: a live table on a terminal, one plain line an epoch elsewhere."""

import math
import time
from collections.abc import Callable
from textwrap import wrap
from typing import Any

import torch
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import Tensor

from deepchest_cli.reporting.numbers import number
from deepchest_cli.terminal import Terminal, table_of
from deepchest_cli.training.progress import EpochReport, Observer, StepReport, mean

REFRESH = 0.25  # seconds between two updates; reading the losses waits for the device
BAR_WIDTH = 40
LINE = 80  # columns of a line of text
MAX_BAR = 3.0  # largest weight that is drawn in full


class Display(Observer):
    """Shows the reports of a run for `deepchest train`."""

    def __init__(
        self, terminal: Terminal, tasks: tuple[str, ...], show: Callable[[Any], None]
    ) -> None:
        self.terminal = terminal
        self.tasks = tasks
        self.show = show
        self.started = time.monotonic()
        self.total: int | None = None  # steps of the run in this process
        self.drawn = 0.0
        self.losses: list[float] = []
        self.last: EpochReport | None = None

    def on_step(self, report: StepReport) -> None:
        """Draw the live table, at most a few times a second."""
        if self.total is None:
            self.total = report.remaining + 1
        now = time.monotonic()
        if self.terminal.animated and now - self.drawn >= REFRESH:
            self.drawn = now
            self.losses = report.losses.tolist()
            text = f"epoch {report.epoch}/{report.epochs} step {report.step}/{report.steps}"
            bar = self._bar(text, self.total - report.remaining, self.total)
            # the bar first: many tasks are cut at the end of a low terminal
            self.show(Group(bar, Text(""), self._table(report.weights)))

    def on_features(self, done: int, total: int) -> None:
        """Draw the progress of a linear probe's features."""
        if self.terminal.animated:
            self.show(self._bar(f"features {done:,}/{total:,}", done, total))
        if done == total:
            self.started = time.monotonic()

    def on_epoch(self, report: EpochReport) -> None:
        """Print an epoch's line, and update the live table."""
        self.last = report
        for line in _lines(report):
            self.terminal.note(line)
        if self.terminal.animated:
            self.losses = report.task_loss.tolist()
            self.show(self._table(report.weights))

    def on_note(self, text: str) -> None:
        """Print a note."""
        self.terminal.note(text)

    def on_warning(self, text: str) -> None:
        """Print a warning."""
        self.terminal.warning(text)

    def _table(self, weights: Tensor | None) -> Table:
        """Return losses, AUROC and weights per task, the weight also as a bar."""
        used = [None] * len(self.tasks) if weights is None else weights.tolist()
        auroc = self.last.task_auroc.tolist() if self.last else [None] * len(used)
        rows = [
            [task, number(loss), number(score), number(weight), _bar_of(weight)]
            for task, loss, score, weight in zip(self.tasks, self.losses, auroc, used, strict=True)
        ]
        columns = ["Finding", "loss", "validation AUROC", "weight", ""]
        return table_of(columns, rows, left="lrrrl")

    def _bar(self, text: str, done: int, total: int) -> Table:
        """Return the progress of what began at `started` and an estimate of the time left."""
        left = (time.monotonic() - self.started) / done * (total - done)
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(text),
            ProgressBar(total=total, completed=done, width=BAR_WIDTH),
            Text(f"{_clock(left)} left"),
        )
        return line


def _bar_of(weight: float | None) -> str:
    """Return a weight as a bar of ten characters for one, with a mark at one."""
    if weight is None or not math.isfinite(weight):
        return ""
    length = max(round(min(weight, MAX_BAR) * 10), 0)
    bar = "━" * length
    return f"{bar[:10]:<10}│{bar[10:]}{'…' if weight > MAX_BAR else ''}"


def _lines(report: EpochReport) -> list[str]:
    """Return an epoch in one line; that of several data sets has more, which fit 80 columns."""
    metrics = (
        f"epoch {report.epoch}/{report.epochs}  "
        f"loss {number(report.macro('training', 'loss'), 4)}  "
        f"validation loss {number(report.macro('validation', 'loss'), 4)}  "
        f"{_auroc(report)}{' (best)' if report.best else ''}"
    )
    speed = (
        f"  {_learning_rate(report)}{report.images_per_second:.0f} images/s "
        f"({report.data_wait_fraction:.1%} waiting for data)  "
        f"{report.seconds:.0f} s{_peak_memory(report.peak_memory)}"
    )
    return [metrics, *_by_data_set(report), speed] if report.sources else [metrics + speed]


def _auroc(report: EpochReport) -> str:
    """Return the macro AUROC, or its mean over several data sets, as the best epoch is chosen."""
    scores = [mean(metrics["auroc"]) for metrics in report.sources.values()]
    if not scores:
        return f"AUROC {number(report.macro('validation', 'auroc'), 4)}"
    return f"mean AUROC {number(mean(torch.tensor(scores)), 4)}"


def _by_data_set(report: EpochReport) -> list[str]:
    """Return lines with the AUROC of each data set and of all images."""
    scores = {name: mean(metrics["auroc"]) for name, metrics in report.sources.items()}
    scores["all images"] = report.macro("validation", "auroc")
    text = "AUROC: " + ", ".join(f"{name} {number(score, 4)}" for name, score in scores.items())
    return wrap(text, LINE, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _learning_rate(report: EpochReport) -> str:
    rate = report.peak_learning_rate
    return "" if rate is None else f"learning rate {rate:g}  "


def _peak_memory(peak: int | None) -> str:
    return "" if peak is None else f"  {peak / 1e9:.1f} GB peak memory"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

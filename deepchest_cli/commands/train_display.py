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
from deepchest_cli.terminal import GAP, Terminal, table_of
from deepchest_cli.training.progress import EpochReport, Observer, StepReport, mean

REFRESH = 0.25  # seconds between two updates; reading the losses waits for the device
BAR_WIDTH, MIN_BAR_WIDTH = 40, 5  # columns of the bar of progress
LINE = 80  # columns of a line of text
MAX_BAR = 3.0  # largest weight that is drawn in full
BAR_UNIT, MIN_BAR_UNIT = 10, 3  # columns of the bar of a weight of 1
WIDE = 60  # columns that have room for all headings
MIN_NAME = 8  # columns of a finding's name


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
        # all of it with --verbose, and in a file
        is_short = self.terminal.errors.is_terminal and not self.terminal.verbose
        for line in _lines(report, self.terminal.errors.width if is_short else None):
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
        """Return losses, AUROC and weights per task, the weight also as a bar where it has room."""
        used = [None] * len(self.tasks) if weights is None else weights.tolist()
        auroc = self.last.task_auroc.tolist() if self.last else [None] * len(used)
        width = self.terminal.errors.width
        columns = ["Finding", "loss", "validation AUROC", "weight"]
        if width < WIDE:
            columns[2] = "AUROC"
        numbers = [
            [number(loss), number(score), number(weight)]
            for loss, score, weight in zip(self.losses, auroc, used, strict=True)
        ]
        taken = sum(GAP + max(map(len, cells)) for cells in zip(columns[1:], *numbers, strict=True))
        room = max(width - taken, MIN_NAME)
        names = [task if len(task) <= room else f"{task[: room - 1]}…" for task in self.tasks]
        left = width - taken - max(map(len, names)) - GAP
        unit = min(int((left - 2) / MAX_BAR), BAR_UNIT)  # beside the mark and a sign for more
        if unit < MIN_BAR_UNIT:
            rows = [[name, *cells] for name, cells in zip(names, numbers, strict=True)]
            return table_of(columns, rows, left="lrrr")
        rows = [
            [name, *cells, _bar_of(weight, unit)]
            for name, cells, weight in zip(names, numbers, used, strict=True)
        ]
        return table_of([*columns, ""], rows, left="lrrrl")

    def _bar(self, text: str, done: int, total: int) -> Table:
        """Return the progress of what began at `started` and an estimate of the time left."""
        left = f"{_clock((time.monotonic() - self.started) / done * (total - done))} left"
        room = min(self.terminal.errors.width - len(text) - len(left) - 2, BAR_WIDTH)
        line = Table.grid(padding=(0, 1))
        if room < MIN_BAR_WIDTH:
            line.add_row(Text(text), Text(left))
        else:
            bar = ProgressBar(total=total, completed=done, width=room)
            line.add_row(Text(text), bar, Text(left))
        return line


def _bar_of(weight: float | None, unit: int) -> str:
    """Return a weight as a bar of `unit` characters for one, with a mark at one."""
    if weight is None or not math.isfinite(weight):
        return ""
    length = max(round(min(weight, MAX_BAR) * unit), 0)
    bar = "━" * length
    return f"{bar[:unit]:<{unit}}│{bar[unit:]}{'…' if weight > MAX_BAR else ''}"


def _lines(report: EpochReport, width: int | None) -> list[str]:
    """Return an epoch in one line, of what `width` has room for; with several data sets in more.

    width: None where no line is cut.
    """
    line = (
        f"epoch {report.epoch}/{report.epochs}  "
        f"loss {number(report.macro('training', 'loss'), 4)}  "
        f"validation loss {number(report.macro('validation', 'loss'), 4)}  "
        f"{_auroc(report)}{' (best)' if report.best and report.keep == 'best' else ''}"
    )
    if report.sources:
        return [line, *_by_data_set(report), f"  {'  '.join(_speed(report))}"]
    for part in _speed(report):
        if width is not None and len(f"{line}  {part}") > width:
            break
        line += f"  {part}"
    return [line]


def _speed(report: EpochReport) -> list[str]:
    """Return how an epoch was computed, what matters most first."""
    rate, peak = report.peak_learning_rate, report.peak_memory
    return [
        f"{report.seconds:.0f} s",
        *([] if rate is None else [f"learning rate {rate:g}"]),
        f"{report.images_per_second:.0f} images/s "
        f"({report.data_wait_fraction:.1%} waiting for data)",
        *([] if peak is None else [f"{peak / 1e9:.1f} GB peak memory"]),
    ]


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


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

"""What a person sees of a run: a live table on a terminal, one plain line an epoch elsewhere."""

import time

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deepchest_cli.terminal import Terminal, number, table_of
from deepchest_cli.training.progress import EpochReport, StepReport

REFRESH = 0.25  # seconds between two drawings; reading the losses waits for the device
BAR_WIDTH = 40


class Display:
    """The observer of a run for `deepchest train`."""

    def __init__(self, terminal: Terminal, findings: tuple[str, ...], show: object) -> None:
        self.terminal = terminal
        self.findings = findings
        self.show = show
        self.started = time.monotonic()
        self.first_remaining: int | None = None
        self.drawn = 0.0
        self.epochs: list[EpochReport] = []

    def on_step(self, report: StepReport) -> None:
        """Draw the live table, at most a few times a second."""
        now = time.monotonic()
        if self.first_remaining is None:
            self.first_remaining = report.remaining + 1
        if self.terminal.animated and now - self.drawn >= REFRESH:
            self.drawn = now
            assert callable(self.show)
            self.show(Group(self._table(report), Text(""), self._bar(report)))

    def on_epoch(self, report: EpochReport) -> None:
        """Remember an epoch, and print its line."""
        self.epochs.append(report)
        self.terminal.note(
            f"epoch {report.epoch}/{report.epochs}  "
            f"loss {number(report.macro('training', 'loss'), 4)}  "
            f"validation loss {number(report.macro('validation', 'loss'), 4)}  "
            f"AUROC {number(report.macro('validation', 'auroc'), 4)}"
            f"{' (best)' if report.best else ''}  "
            f"{report.images_per_second:.0f} images/s  {report.seconds:.0f} s"
        )

    def on_note(self, text: str) -> None:
        """Pass on what the training says."""
        self.terminal.note(text)

    def _table(self, report: StepReport) -> Table:
        """Return losses, AUROC and weights per finding, with the direction of each weight."""
        last = self.epochs[-1] if self.epochs else None
        losses = report.losses.tolist()
        weights = None if report.weights is None else report.weights.tolist()
        rows = []
        for row, finding in enumerate(self.findings):
            auroc = last.validation["auroc"][row].item() if last else None
            weight = weights[row] if weights else None
            rows.append(
                [finding, number(losses[row]), number(auroc), number(weight), _bar_of(weight)]
            )
        columns = ["Finding", "batch loss", "validation AUROC", "weight", ""]
        return table_of(columns, rows)

    def _bar(self, report: StepReport) -> Table:
        """Return the position in the run and an estimate of the time left."""
        total = self.first_remaining or 1
        done = total - report.remaining
        elapsed = time.monotonic() - self.started
        left = elapsed / done * report.remaining if done else 0.0
        line = Table.grid(padding=(0, 1))
        line.add_row(
            Text(f"epoch {report.epoch}/{report.epochs} step {report.step}/{report.steps}"),
            ProgressBar(total=total, completed=done, width=BAR_WIDTH),
            Text(f"{_clock(left)} left"),
        )
        return line


def _bar_of(weight: float | None) -> str:
    """Return a weight as a bar, ten blocks for one."""
    return "" if weight is None else "█" * max(round(weight * 10), 0)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

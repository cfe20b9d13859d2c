"""The only module that prints: results to standard output, everything else to standard error."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import to_json
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:  # tables and bars are imported where they are drawn: `--help` needs none
    from rich.table import Table

PACKAGES = ("site-packages", "dist-packages")  # folders of libraries
UNBOUNDED = 100_000  # columns: a table is never cut; a narrow terminal wraps its lines


class ErrorConsole(Console):
    """The console of standard error; it stops writing when its reader is gone."""

    def on_broken_pipe(self) -> None:
        """Go on without output: closing the pipe does not end the work."""
        self.quiet = True

    def __exit__(self, *error: Any) -> None:
        """Write what is left; writing to a terminal that was closed fails (EIO)."""
        try:
            super().__exit__(*error)
        except OSError:
            self.quiet = True


def _error_console() -> Console:
    return ErrorConsole(stderr=True, highlight=False, soft_wrap=True)


def _write(text: str) -> bool:
    """Write to standard output; False, and no failure, when its reader is gone (`| head`)."""
    if sys.stdout is None:  # closed by the caller
        return False
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


class Terminal:
    """The output of a command: for people, as one JSON document, or quiet."""

    def __init__(self, json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.errors = _error_console()

    @property
    def animated(self) -> bool:
        """Whether bars and live displays may move on standard error."""
        return self.errors.is_terminal and not (self.json or self.quiet)

    def line(self, text: str) -> bool:
        """Write one line of result unchanged; returns whether it could be written."""
        return _write(f"{text}\n")

    def text(self, text: str) -> bool:
        """Write text unchanged, line ends included; returns whether it could be written."""
        return _write(text)

    def document(self, content: Mapping[str, Any]) -> None:
        """Write one JSON document with the version of its schema."""
        _write(to_json(versioned(content)) + "\n")

    def table(self, table: "Table") -> None:
        """Write a table at its full width: no value is ever cut."""
        console = Console(highlight=False, width=UNBOUNDED)
        with console.capture() as capture:
            console.print(table)
        _write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))

    def note(self, text: str) -> None:
        """Write a note to standard error; none with --quiet."""
        if not self.quiet:
            self.errors.print(Text(text))

    def detail(self, text: str) -> None:
        """Write a note that is shown with --verbose only."""
        if self.verbose:
            self.note(text)

    def warning(self, text: str) -> None:
        """Write a warning, with --quiet too."""
        self.errors.print(Text("Warning: ", style="yellow").append(text, style="default"))

    @contextmanager
    def library_warnings(self) -> Iterator[None]:
        """Show each warning of a library once, in one line and without paths.

        What libraries log below the level of an error is not shown.
        """
        import logging
        import warnings

        shown = set()

        def show(
            message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any
        ) -> None:
            text = _one_line(str(message), Path(filename).parts)
            if not issubclass(category, FutureWarning | DeprecationWarning) and text not in shown:
                shown.add(text)
                self.warning(text)

        before, level = warnings.showwarning, logging.root.manager.disable
        warnings.showwarning = show  # not catch_warnings, which forgets the filters of new imports
        logging.disable(max(level, logging.WARNING))
        try:
            yield
        finally:
            warnings.showwarning = before
            logging.disable(level)

    @contextmanager
    def progress(self, description: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a callback (done, total) that moves a bar where there is a terminal."""
        from rich import progress as rich

        columns = (rich.TextColumn("{task.description}"), rich.BarColumn())
        count, left = rich.MofNCompleteColumn(), rich.TimeRemainingColumn()
        with rich.Progress(
            *columns, count, left, console=self.errors, disable=not self.animated, transient=True
        ) as bar:
            task = bar.add_task(description, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextmanager
    def live(self) -> Iterator[Callable[[Any], None]]:
        """Yield a callback that shows a renderable in place; nothing without a terminal."""
        if not self.animated:
            yield lambda renderable: None
            return
        from rich.live import Live

        with Live(console=self.errors, auto_refresh=False) as live:
            yield lambda renderable: live.update(renderable, refresh=True)


def _one_line(text: str, file: tuple[str, ...]) -> str:
    """Return a library's warning in one line, with the library that the file belongs to."""
    line = " ".join(text.split()).replace(f"{sys.prefix}{os.sep}", "")
    packages = [name for folder, name in pairwise(file) if folder in PACKAGES]
    return f"{line.rstrip('.')} ({packages[-1].removesuffix('.py')})." if packages else line


def render_error(error: DeepChestError) -> None:
    """Write an error and its hint to standard error."""
    console = _error_console()
    console.print(Text("Error: ", style="bold red").append(error.message, style="default"))
    if error.hint:
        console.print(Text(error.hint))


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]], left: str = "l") -> "Table":
    """Return a plain table; `left` has an l or r for each column's side, and r follows."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, side in zip(columns, left.ljust(len(columns), "r"), strict=True):
        table.add_column(Text(name), justify="left" if side == "l" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table

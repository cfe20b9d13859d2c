"""The only module that prints: results to standard output, everything else to standard error."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import to_json
from deepchest_cli.schemas import versioned

if TYPE_CHECKING:  # tables and bars are imported where they are drawn: `--help` needs none
    from rich.table import Table

PACKAGES = ("site-packages", "dist-packages")  # folders of libraries
UNBOUNDED = 100_000  # columns: no line of a table is cut or wrapped
GAP = 2  # columns of space between those of a table
INDENT = "  "  # of what hangs below a line
RESUME = "esume with:"  # of the command at the end of a hint
NARROWEST = 20  # columns; words are not wrapped for less
QUOTED = {ord(" "): "\1", ord("\n"): "\2"}  # what holds the place of blanks in quotes
ERASE = "\r\x1b[2K"  # the line that the cursor is in

_notices: list[Console] = []  # where a notice stands that the next output replaces


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


def show_notice(text: str) -> None:
    """Show on a terminal that something begins, until the next output takes its line."""
    console = _error_console()
    # not `is_terminal`: colors may be forced into a pipe, which has no line to erase
    if sys.stderr is not None and sys.stderr.isatty() and not console.is_dumb_terminal:
        console.print(Text(text, style="dim"), end="")
        _notices.append(console)


def _erase_notice() -> None:
    """Erase the notice that something begins."""
    while _notices:
        file = _notices.pop().file
        with suppress(OSError):  # a terminal that was closed
            file.write(ERASE)
            file.flush()


def _write(text: str) -> bool:
    """Write to standard output; False, and no failure, when its reader is gone (`| head`)."""
    _erase_notice()
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
        moves = self.errors.is_terminal and not self.errors.is_dumb_terminal
        return moves and not (self.json or self.quiet)

    @property
    def width(self) -> int:
        """How many columns standard output has: its terminal's, `COLUMNS`, or 80."""
        return shutil.get_terminal_size().columns or 80

    def line(self, text: str) -> bool:
        """Write one line of result unchanged; returns whether it could be written."""
        return _write(f"{text}\n")

    def text(self, text: str) -> bool:
        """Write text unchanged, line ends included; returns whether it could be written."""
        return _write(text)

    def document(self, content: Mapping[str, Any]) -> None:
        """Write one JSON document with the version of its schema."""
        _write(to_json(versioned(content)) + "\n")

    def paragraph(self, text: str, indent: str = "") -> None:
        """Write a sentence of result; a terminal gets lines that end between words."""
        if sys.stdout is not None:
            self.line(_wrapped(f"{indent}{text}", sys.stdout.isatty()))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        left: str = "l",
        essential: int | None = None,
    ) -> None:
        """Write a table whose columns stand in the order of their importance; no cell is cut.

        Columns are shown while there is room. The first `essential` ones (all, if None) always
        are, and with --verbose the others too: below each other, with the first column again.

        left: an l or r for each column's side, and r follows.
        """
        widths = [_width_of(cells) for cells in zip(columns, *rows, strict=True)]
        needed = len(columns) if self.verbose or essential is None else essential
        blocks = _blocks(widths, self.width, needed)
        if blocks is None:
            for row in rows:
                self._record(columns[:needed], row)
            return
        sides = left.ljust(len(columns), "r")
        for number, block in enumerate(blocks):
            if number:
                self.line("")
            part = table_of(
                [columns[i] for i in block],
                [[row[i] for i in block] for row in rows],
                "".join(sides[i] for i in block),
            )
            self._rendered(part)
        hidden = columns[max(map(max, blocks)) + 1 :]
        if hidden:
            self.note(f"More columns with --verbose, or in a wider window: {', '.join(hidden)}.")

    def _rendered(self, table: "Table") -> None:
        console = Console(highlight=False, width=UNBOUNDED)
        with console.capture() as capture:
            console.print(table)
        _write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))

    def _record(self, columns: Sequence[str], row: Sequence[str]) -> None:
        """Write a row as lines: its first cell, and below it each other one with its heading."""
        self.line(row[0])
        for name, cell in list(zip(columns, row, strict=False))[1:]:
            if not cell:
                continue
            entry = f"{INDENT}{name}: {cell}" if name else f"{INDENT}{cell}"
            if name and _width_of([entry]) > self.width:
                self.line(f"{INDENT}{name}:")
                entry = f"{2 * INDENT}{cell}"
            self.line(_wrapped(entry, True))

    def definitions(self, entries: Sequence[tuple[str, str]]) -> None:
        """Write terms, each with its text beside it in lines that end between words."""
        margin = len(INDENT) + GAP + max(len(term) for term, _ in entries)
        for term, text in entries:
            lines = _wrapped(" " * margin + text, True).split("\n")
            lines[0] = f"{INDENT}{term:{margin - len(INDENT)}}{lines[0].lstrip()}"
            self.line("\n".join(lines))

    def next_step(self, command: str) -> None:
        """Name the command that usually follows, in a line that can be pasted."""
        if not (self.json or self.quiet):
            self.note("Next step:")
            self.errors.print(Text(_continued(f"{INDENT}{command}", self.errors)))

    def note(self, text: str) -> None:
        """Write a note to standard error; none with --quiet."""
        if not self.quiet:
            _erase_notice()
            self.errors.print(Text(_wrapped(text, self.errors.is_terminal)))

    def detail(self, text: str) -> None:
        """Write a note that is shown with --verbose only."""
        if self.verbose:
            self.note(text)

    def warning(self, text: str) -> None:
        """Write a warning, with --quiet too."""
        _erase_notice()
        self.errors.print(_labeled("Warning: ", "yellow", text, self.errors))

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

        _erase_notice()
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

        _erase_notice()
        with Live(console=self.errors, auto_refresh=False) as live:
            yield lambda renderable: live.update(renderable, refresh=True)


def _one_line(text: str, file: tuple[str, ...]) -> str:
    """Return a library's warning in one line, with the library that the file belongs to."""
    line = " ".join(text.split()).replace(f"{sys.prefix}{os.sep}", "")
    packages = [name for folder, name in pairwise(file) if folder in PACKAGES]
    return f"{line.rstrip('.')} ({packages[-1].removesuffix('.py')})." if packages else line


def render_error(error: DeepChestError) -> None:
    """Write an error and its hint to standard error."""
    _erase_notice()
    console = _error_console()
    console.print(_labeled("Error: ", "bold red", error.message, console))
    if error.hint:
        console.print(Text(_hint(error.hint, console)))


def _hint(text: str, console: Console) -> str:
    """Return a hint in lines; a command at its end that has no room can be pasted all the same."""
    said, opening, command = text.rpartition(f"{RESUME} deepchest ")
    whole = _wrapped(text, console.is_terminal)
    if not opening or whole == text:
        return whole
    command = _continued(f"{INDENT}deepchest {command}", console)
    return f"{_wrapped(said + RESUME, console.is_terminal)}\n{command}"


def _labeled(label: str, style: str, text: str, console: Console) -> Text:
    """Return a text behind a label, which has a style of its own."""
    labeled = Text(_wrapped(f"{label}{text}", console.is_terminal))
    labeled.stylize(style, 0, len(label))
    return labeled


def _wrapped(text: str, on_terminal: bool, indent: str = "", spare: int = 0) -> str:
    """Return text in lines that end between words, as wide as the terminal or as `COLUMNS` says.

    Lines for another program stay whole. No path is cut, and no number parted from its percent
    sign. The lines after the first have its indent, or `indent`. `spare` columns stay free.
    """
    if not (on_terminal or "COLUMNS" in os.environ):
        return text
    width = max(shutil.get_terminal_size().columns, NARROWEST) - spare
    lines = []
    for line in text.replace(" %", "\0%").split("\n"):
        own = indent or line[: len(line) - len(line.lstrip())]
        lines.append(
            fill(
                line, width, subsequent_indent=own, break_long_words=False, break_on_hyphens=False,
                replace_whitespace=False,
            )
        )  # fmt: skip
    return "\n".join(lines).replace("\0%", " %")


def _continued(command: str, console: Console) -> str:
    """Return a command whose lines end between words, with what makes a shell read on.

    Words in quotes stay whole: a shell takes what is between them to the letter.
    """
    end = " \\"
    whole = re.sub(r"'[^']*'|\"[^\"]*\"", lambda found: found[0].translate(QUOTED), command)
    lines = _wrapped(whole, console.is_terminal, 2 * INDENT, len(end)).replace("\n", f"{end}\n")
    return lines.translate({ord(held): blank for blank, held in QUOTED.items()})


def _width_of(cells: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, cells))


def _blocks(widths: Sequence[int], room: int, needed: int) -> list[list[int]] | None:
    """Return the columns of each block of a table; None where not even two have room."""
    blocks, used = [[0]], widths[0]
    for i, width in enumerate(widths[1:], start=1):
        if used + GAP + width <= room:
            blocks[-1].append(i)
            used += GAP + width
        elif i >= needed:
            break
        elif widths[0] + GAP + width > room:
            return None
        else:
            blocks.append([0, i])
            used = widths[0] + GAP + width
    return blocks


def table_of(columns: Sequence[str], rows: Sequence[Sequence[str]], left: str = "l") -> "Table":
    """Return a plain table; `left` has an l or r for each column's side, and r follows."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name, side in zip(columns, left.ljust(len(columns), "r"), strict=True):
        table.add_column(Text(name), justify="left" if side == "l" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table

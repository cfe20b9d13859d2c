"""What a notebook shows of results: a title, a table, and bars of progress."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from deepchest_cli.errors import UsageError
from deepchest_cli.reporter import Move, Recorder

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

REFRESH = 0.25  # seconds between two updates of a bar
Receive = Callable[[str, int, int], None]  # what is done, how much of it, and of how much


def titled_table(
    title: str, table: "pd.DataFrame", warnings: Sequence[str] = (), sentences: str = ""
) -> str:
    """Return HTML of a title, sentences, warnings and a table.

    Numbers have four digits behind the point, but in columns of whole numbers.
    """
    said = f"<p>{escape(sentences)}</p>" if sentences else ""
    said += "".join(f"<p><em>Warning: {escape(text)}</em></p>" for text in warnings)
    counts = table.select_dtypes("float").columns[_are_whole(table.select_dtypes("float"))]
    shown = table.to_html(
        float_format=lambda value: f"{value:.4f}",
        formatters={name: lambda value: f"{value:.0f}" for name in counts},
        na_rep="–",
        border=0,
        max_rows=40,
    )
    return f"<div><p><strong>{escape(title)}</strong></p>{said}{shown}</div>"


class Shown(ABC):
    """Shows itself as a title, sentences, warnings and a table: HTML in a notebook, else text."""

    @abstractmethod
    def _shown(self) -> "tuple[str, pd.DataFrame, Sequence[str], str]":
        """Return title, table, warnings and sentences."""

    def _repr_html_(self) -> str:
        return titled_table(*self._shown())

    def __repr__(self) -> str:
        title, table, warnings, sentences = self._shown()
        said = [title, sentences, *(f"Warning: {text}" for text in warnings), table_text(table)]
        return "\n".join(filter(None, said))


def table_text(table: "pd.DataFrame") -> str:
    """Return a table as text with all of its columns, in blocks where a terminal is narrower."""
    import pandas as pd

    numbers = table.select_dtypes("float")
    counts = dict.fromkeys(numbers.columns[_are_whole(numbers)], "Int64")
    every = ("display.max_columns", None, "display.max_rows", 40)
    with pd.option_context(*every, "display.float_format", "{:.4f}".format):
        return repr(table.astype(counts))


def _are_whole(numbers: "pd.DataFrame") -> "NDArray[np.bool_]":
    """Return which columns of floating-point numbers count something; some may be missing."""
    are_whole = ((numbers % 1 == 0) | numbers.isna()).all()
    return (are_whole & (numbers.abs() >= 1).any()).to_numpy()  # zeros alone may be differences


def recorder(progress: bool | Receive) -> Recorder:
    """Return what records a call's notes and warnings.

    progress: a callback that receives it; or True for bars, in a notebook or on a terminal.
    """
    if callable(progress):
        return Recorder(progress)
    if not isinstance(progress, bool | None):
        raise UsageError(
            f"progress should be True, False or what receives it. Found {progress!r}.",
            "For instance: progress=True, or progress=lambda what, done, total: ...",
        )
    if not progress:
        return Recorder()
    display = _notebook_display()
    return _TerminalBars() if display is None else _NotebookBars(display)


class _TerminalBars(Recorder):
    """Shows progress where standard error is a terminal, as the commands do."""

    def progress(self, description: str) -> AbstractContextManager[Move]:
        """Return a context with the callback that moves a bar."""
        from deepchest_cli.terminal import Terminal

        return Terminal().progress(description)


class _NotebookBars(Recorder):
    """Shows progress below a notebook's cell; a bar goes when its work is done."""

    def __init__(self, display: Callable[..., Any]) -> None:
        super().__init__()
        self.display = display

    def progress(self, description: str) -> AbstractContextManager[Move]:
        """Return a context with the callback that moves a bar, a few times a second."""
        return self._bar(description)

    @contextmanager
    def _bar(self, description: str) -> Iterator[Move]:
        shown, drawn = self.display(_Html(escape(description)), display_id=True), 0.0

        def move(done: int, total: int) -> None:
            nonlocal drawn
            if time.monotonic() - drawn >= REFRESH:
                drawn = time.monotonic()
                bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
                shown.update(_Html(f"{escape(description)} {bar} {done:,} of {total:,}"))

        try:
            yield move
        finally:
            shown.update(_Html(""))


@dataclass(frozen=True)
class _Html:
    text: str

    def _repr_html_(self) -> str:
        return self.text


def _notebook_display() -> Callable[..., Any] | None:
    """Return IPython's `display` where this is a notebook's kernel; else None."""
    ipython = sys.modules.get("IPython")  # which a kernel has imported long ago
    shell = ipython and ipython.get_ipython()
    return ipython.display.display if ipython and hasattr(shell, "kernel") else None

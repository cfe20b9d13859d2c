"""What an operation says while it runs, to whoever runs it: a command, a notebook, a program."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Move = Callable[[int, int], None]  # receives what is done, and the total


class Reporter(Protocol):
    """Receives notes, warnings and progress; the terminal of a command is one."""

    def note(self, text: str) -> None:
        """Receive what is done, or where it lies."""

    def detail(self, text: str) -> None:
        """Receive a note for those who want to know more."""

    def warning(self, text: str) -> None:
        """Receive what a user should look at."""

    def progress(self, description: str) -> AbstractContextManager[Move]:
        """Return a context with a callback that receives the progress of what is described."""


class Recorder:
    """Keeps notes and warnings, prints nothing, and hands on (description, done, total)."""

    def __init__(self, on_progress: Callable[[str, int, int], None] | None = None) -> None:
        self.on_progress = on_progress
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def detail(self, text: str) -> None:
        """Keep nothing."""

    def warning(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def progress(self, description: str) -> AbstractContextManager[Move]:
        """Return a context with a callback that hands the progress on."""
        receive = self.on_progress
        if receive is None:
            return nullcontext(lambda done, total: None)
        return nullcontext(lambda done, total: receive(description, done, total))

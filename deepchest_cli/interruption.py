"""Ctrl-C and SIGTERM as a request to stop at the next step instead of a sudden end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from deepchest_cli.errors import ExitCode

EXIT_CODES = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


class StopRequest:
    """Remembers the first signal; a second one of Ctrl-C ends the process at once."""

    def __init__(self) -> None:
        self.exit_code: ExitCode | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal (the form that `signal.signal` wants)."""
        if self.exit_code is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.exit_code = EXIT_CODES[signal.Signals(number)]

    def heeded(self, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Return a callback that raises `KeyboardInterrupt` once a signal has come.

        Raised by a handler, it could come to light where Python or a library swallows it.
        """

        def look(done: int, total: int) -> None:
            if self.exit_code is not None:
                raise KeyboardInterrupt
            progress(done, total)

        return look


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that SIGINT and SIGTERM set; the handlers before come back after.

    Raises `ValueError` outside the main thread, as Python's signal handling does.
    """
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

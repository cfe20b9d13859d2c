"""Signals as a request to stop at the next step instead of a sudden end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# a terminal that closes; by which batch systems warn; a limit of CPU time; a console of Windows
# that closes. No system has all of them
NAMES = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
WARNINGS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
SIGNALS = (signal.SIGINT, signal.SIGTERM, *WARNINGS)

_open: list["StopRequest"] = []  # the requests that are listening, the innermost last


class InterruptionError(BaseException):
    """A signal that ends a command at once; no `except Exception` takes it for a failure."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"signal {exit_code - 128}")
        self.exit_code = exit_code


class StopRequest:
    """Remembers the first signal; a second one of Ctrl-C ends the process at once."""

    def __init__(self, at_once: bool = False) -> None:
        self.exit_code: int | None = None  # 128 + the signal's number, as a shell has it
        self.at_once = at_once  # raise `InterruptionError` instead of waiting to be asked

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal (the form that `signal.signal` wants)."""
        if self.exit_code is None:
            self.exit_code = 128 + number
            if self.at_once:
                raise InterruptionError(self.exit_code)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

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
    """Yield a `StopRequest` that signals set; the handlers before come back after.

    A request within another one knows of a signal that the other one has noted, and passes on its
    own. A warning that is ignored, as `nohup` has it, stays ignored. Raises `ValueError` outside
    the main thread, as Python's signal handling does.
    """
    with _listening(StopRequest(), SIGNALS) as request:
        yield request


@contextmanager
def end_on_signal() -> Iterator[None]:
    """Let signals, but for Ctrl-C, raise `InterruptionError`, so that whatever is open is closed.

    What waits for the end of a step instead listens by `stop_on_signal` within.
    """
    with _listening(StopRequest(at_once=True), SIGNALS[1:]):
        yield


@contextmanager
def _listening(request: StopRequest, numbers: tuple[signal.Signals, ...]) -> Iterator[StopRequest]:
    request.exit_code = _open[-1].exit_code if _open else None
    before = {number: signal.getsignal(number) for number in numbers if _is_ours(number)}
    for number in before:
        signal.signal(number, request.receive)
    _open.append(request)
    try:
        yield request
    finally:
        _open.remove(request)
        if _open and _open[-1].exit_code is None:
            _open[-1].exit_code = request.exit_code
        for number, handler in before.items():
            if signal.getsignal(number) == request.receive:  # else somebody wants it otherwise
                signal.signal(number, handler)


def _is_ours(number: signal.Signals) -> bool:
    """Whether a signal may be handled: not what is ignored, nor what a foreign library handles."""
    handler = signal.getsignal(number)
    return handler is not None and (handler != signal.SIG_IGN or number not in WARNINGS)

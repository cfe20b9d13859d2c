"""Signals as a request to stop at the next step instead of a sudden end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# a closed terminal; warnings of batch systems; a CPU time limit; a closed console of Windows.
# No system has all of them
NAMES = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU", "SIGBREAK")
BATCH_SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
SIGNALS = (signal.SIGINT, signal.SIGTERM, *BATCH_SIGNALS)

_active: list["StopRequest"] = []  # requests that handle signals, the innermost last


class InterruptionError(BaseException):
    """A signal that ends a command at once; `except Exception` does not catch it."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"signal {exit_code - 128}")
        self.exit_code = exit_code


class StopRequest:
    """Remembers the first signal; a Ctrl-C after it ends the process at once."""

    def __init__(self, at_once: bool = False) -> None:
        self.exit_code: int | None = None  # 128 + the signal's number, as a shell has it
        self.at_once = at_once  # raise `InterruptionError` instead of only remembering

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, as `signal.signal` calls it."""
        if self.exit_code is None:
            self.exit_code = 128 + number
            if self.at_once:
                raise InterruptionError(self.exit_code)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def heeded(self, progress: Callable[[int, int], None]) -> Callable[[int, int], None]:
        """Return a callback that raises `KeyboardInterrupt` once a signal has come.

        Raised by a handler, it could appear where Python or a library swallows it.
        """

        def check(done: int, total: int) -> None:
            if self.exit_code is not None:
                raise KeyboardInterrupt
            progress(done, total)

        return check


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that signals set; the former handlers are restored afterwards.

    A request within another one has the signal that the other one has received, and passes its own
    on. A warning that is ignored, as by `nohup`, stays ignored. Outside the main thread, to which
    alone Python gives signals, none comes.
    """
    with _handling(StopRequest(), SIGNALS) as request:
        yield request


@contextmanager
def end_on_signal() -> Iterator[None]:
    """Let signals except Ctrl-C raise `InterruptionError`, so that whatever is open is closed.

    Code that waits for the end of a step uses `stop_on_signal` within.
    """
    with _handling(StopRequest(at_once=True), SIGNALS[1:]):
        yield


@contextmanager
def _handling(request: StopRequest, numbers: tuple[signal.Signals, ...]) -> Iterator[StopRequest]:
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    request.exit_code = _active[-1].exit_code if _active else None
    before = {number: signal.getsignal(number) for number in numbers if _may_handle(number)}
    for number in before:
        signal.signal(number, request.receive)
    _active.append(request)
    try:
        yield request
    finally:
        _active.remove(request)
        if _active and _active[-1].exit_code is None:
            _active[-1].exit_code = request.exit_code
        for number, handler in before.items():
            if signal.getsignal(number) == request.receive:  # else somebody has changed it
                signal.signal(number, handler)


def _may_handle(number: signal.Signals) -> bool:
    """Whether a signal is neither ignored nor handled outside Python."""
    handler = signal.getsignal(number)
    return handler is not None and (handler != signal.SIG_IGN or number not in BATCH_SIGNALS)

"""Work for engines: quick, and failing at will."""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waiting import wait_for

from deepchest_cli.errors import InterruptedRunError, LostDeviceError
from deepchest_cli.interruption import stop_on_signal


@dataclass(frozen=True)
class Answer:
    """What a task returns."""

    value: Any
    device: str | None
    process: int
    ends_process: bool = False


def square(argument, device, report):
    report(0.5)
    return Answer(argument**2, device, os.getpid())


def fails(argument, device, report):
    """Fail as a run of a comparison does, with a result that says so."""
    return Answer("failed", device, os.getpid(), ends_process=True)


def raises(argument, device, report):
    raise ValueError(f"no {argument}")


class UnpicklableError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def raises_what_pickle_cannot_bring(argument, device, report):
    raise UnpicklableError("one", "two")


def breaks(argument, device, report):
    """Lose the device where it is one of those named."""
    if device in argument:
        raise LostDeviceError(f"{device} has failed: ECC.", "hint")
    return Answer("done", device, os.getpid())


def killed(argument, device, report):
    """Die as many times as `argument` (folder, times) says, the first time at once."""
    folder, times = argument
    done = len(list(Path(folder).glob("kill-*")))
    if done < times:
        Path(folder, f"kill-{done}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Answer(done, device, os.getpid())


def counts(argument, device, report):
    """Count to a number (folder, number), 0.05 s each, and go on where it was interrupted."""
    return count(*argument, device, report)


def counts_when_interrupted(argument, device, report):
    """Count so, and half way wait for a signal, unless another process began."""
    return count(*argument, device, report, hold=argument[1] // 2)


def count(folder, number, device, report, hold=None):
    state = Path(folder, "count")
    begun = 0
    with suppress(OSError, ValueError):
        begun = int(state.read_text())
    Path(folder, f"process-{os.getpid()}").touch()
    with stop_on_signal() as stop:
        for counted in range(begun + 1, number + 1):
            time.sleep(0.05)
            report(counted / number)
            temporary = Path(folder, f"count.{os.getpid()}")
            temporary.write_text(str(counted))
            temporary.rename(state)
            if counted == hold and not begun:
                wait_for(lambda: stop.exit_code is not None)
            if stop.exit_code is not None:
                Path(folder, "saved").write_text(str(counted))
                raise InterruptedRunError("Interrupted.", "", stop.exit_code)
    return Answer(number, device, os.getpid())


def meets(argument, device, report):
    """Wait until as many processes as `argument` (folder, number) says have begun; count them."""
    folder, number = argument
    Path(folder, f"process-{os.getpid()}").touch()
    until = time.monotonic() + 120
    while (found := len(list(Path(folder).glob("process-*")))) < number:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return Answer(found, device, os.getpid())


def pages_of_steps(argument, device, report):
    """Hold and free 20 pieces of 8 MB, ten times; return the pages that the last three took."""
    import resource

    import torch

    def taken():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for number in range(10):
        if number == 7:
            before = taken()
        held = [torch.empty(2**23, dtype=torch.uint8).fill_(1) for _ in range(20)]
        del held
    return taken() - before


def hangs(folder, device, report):
    """Go on, whatever signals say, until there is a file `end`, or no folder any more."""
    Path(folder, "begun").touch()
    while Path(folder).exists() and not Path(folder, "end").exists():
        time.sleep(0.05)
    return "ended"


def sends_itself_a_signal(argument, device, report):
    os.kill(os.getpid(), signal.SIGTERM)
    return argument

"""A part of `gpu.py` in a process of its own: a broken device or a lack of memory ends only that.

What the part prints goes into a log, and so do the whole errors.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gpu_plan import Figures, Plan, Progress, SkippedError

Measure = Callable[..., Figures]  # of plan, progress and the part's own arguments


def run_part(
    measure: Measure, plan: Plan, arguments: Mapping[str, Any], log: Path, progress: Progress
) -> Figures:
    """Return the entry of a part: status, seconds, and its figures or the reason without them."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_process, args=(theirs, measure, plan, arguments, log))
    started = time.monotonic()
    process.start()
    theirs.close()
    try:
        entry = _listen(ours, progress)
        process.join()
    finally:
        if process.is_alive():  # this one was interrupted
            process.terminate()
            process.join()
    if entry is None:
        entry = {"status": "failed", "reason": _of_exit(process.exitcode)}
    return {**entry, "seconds": time.monotonic() - started}


def _listen(connection: Connection, progress: Progress) -> Figures | None:
    """Return the entry that a part sends; None: its process has ended without one."""
    while True:
        try:
            kind, content = connection.recv()
        except EOFError:
            return None
        if kind == "entry":
            return content
        progress(content)


def _of_exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        killed = ", perhaps for want of main memory" if name == "SIGKILL" else ""
        return f"Its process was ended by {name}{killed}."
    return f"Its process has ended with status {code}."


def _in_process(
    connection: Connection, measure: Measure, plan: Plan, arguments: Mapping[str, Any], log: Path
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it has started ends too
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    print(f"\n{measure.__name__} {dict(arguments)}", flush=True)
    connection.send(("entry", entry_of(measure, plan, arguments, connection_progress(connection))))


def connection_progress(connection: Connection) -> Progress:
    """Return what sends a part's progress to the process that waits for it."""
    return lambda text: connection.send(("progress", text))


def entry_of(
    measure: Measure, plan: Plan, arguments: Mapping[str, Any], progress: Progress
) -> Figures:
    """Measure a part in this process; an error becomes its reason."""
    from gpu_rates import explain  # torch, which the process that waits does not need

    try:
        return {"status": "measured", "figures": measure(plan, progress, **arguments)}
    except SkippedError as reason:
        return {"status": "skipped", "reason": str(reason)}
    except Exception as error:
        traceback.print_exc()
        return {"status": "failed", "reason": explain(error)}

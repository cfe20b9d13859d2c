"""What an engine completes: a piece of work that any process can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Report = Callable[[float], None]  # receives the share of a task that is done, in 0 to 1
Work = Callable[[Any, str | None, Report], Any]


@dataclass(frozen=True, eq=False)
class Task:
    """A piece of work that depends on no other, and that may be begun again after a kill.

    `work(argument, device, report)` is a function of a module, since it is pickled by reference;
    `device` is None where the worker chooses. Its result is anything that can be pickled. After a
    result with a true attribute `ends_process` the process that gave it is not used again.
    """

    key: str  # differs from those of the other tasks; names a file
    name: str  # in messages
    work: Work
    argument: Any

"""Errors that a person can act on, and the exit codes of the command line."""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

MANY_NAMES, NEAREST = 50, 10  # in an error: from how many on not all are listed, and how many then


class ExitCode(IntEnum):
    """What a shell sees; any other signal gives 128 + its number, too."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    GATE_NOT_MET = 3
    INTERRUPTED = 130
    TERMINATED = 143


class DeepChestError(Exception):
    """Something went wrong: what and where (`message`) and how to mend it (`hint`)."""

    exit_code: int = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:  # shown below a traceback, in a notebook too
            self.add_note(hint)

    def reword(self, message: str, hint: str) -> None:
        """Say the same in other words."""
        self.args, self.message, self.hint = (message,), message, hint
        self.__notes__ = [hint] if hint else []


class UnreadableRadiographError(DeepChestError):
    """An image file that yields no radiograph; the message says why."""


class UnreadableShardError(DeepChestError):
    """A file of prepared data that can no longer be read."""


class UsageError(DeepChestError):
    """A flag, a configuration or an input is wrong; nothing was done."""

    exit_code = ExitCode.WRONG_USE


class MemoryShortageError(UsageError):
    """What the configuration wants to keep does not fit into the memory that is free now."""


class GateError(DeepChestError):
    """A quality gate was not met."""

    exit_code = ExitCode.GATE_NOT_MET


class DivergedError(DeepChestError):
    """Losses or logits are not finite any more: this training cannot go on."""


class LostDeviceError(DeepChestError):
    """A device has failed; other work on it would fail too."""


class InterruptedRunError(DeepChestError):
    """A signal ended the work after it had been saved."""

    def __init__(self, message: str, hint: str, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        """Let the error come back from a worker process."""
        return type(self), (self.message, self.hint, self.exit_code)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that nothing goes by: what was given, what is meant, the rest.

    Of many names only those that are spelled most like it.
    """
    from deepchest_cli.config.renamed import SINCE, renamed
    from deepchest_cli.config.synonyms import most_alike, nearest, synonym

    names, name = list(known), str(name)  # of a program it may be anything
    if new := renamed(name, names):
        suggestion = f" It is called {new!r} {SINCE}."
    else:
        meant = synonym(name, names) or nearest(name, names)
        suggestion = f" Did you mean {meant!r}?" if meant else ""
    few = len(names) <= MANY_NAMES
    rest = (
        f"Known: {', '.join(names)}."
        if few
        else (f"The nearest of {len(names):,}: {', '.join(most_alike(name, names, NEAREST))}.")
    )
    return UsageError(f"Unknown {kind} {name!r}.{suggestion}", rest)

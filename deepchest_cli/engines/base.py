"""What an engine is: tasks go in, futures come out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Self

from deepchest_cli.engines.session import Session
from deepchest_cli.engines.task import Task


@dataclass(frozen=True)
class Retirement:
    """What is not used any more since it has failed, in the words of messages."""

    device: str
    use: str  # "cuda:1 is not used any more"
    where: str  # its task goes on "on another device"


class Engine(ABC):
    """Completes tasks somewhere. Used as a context manager, by one `drive` at a time."""

    slots: int | None  # how many tasks it takes at a time; None: all, it has a queue of its own
    session: Session | None = None  # in the folder that all processes see
    survives_interruption = False  # whether a task that was interrupted elsewhere is begun again

    def __init__(self) -> None:
        self.moved: Callable[[], None] = lambda: None  # called when a share has changed

    @abstractmethod
    def submit(self, task: Task) -> Future[Any]:
        """Begin a task. Its errors are the future's.

        `KilledWorkerError` where its process was killed, and `LostDeviceError` where its device
        has failed; `retire` is then called before another task is submitted.
        """

    @abstractmethod
    def share(self, task: Task) -> float:
        """Return the share of a running task that is done, in 0 to 1."""

    @abstractmethod
    def retire(self, task: Task) -> Retirement:
        """Never use again what a task was run on."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all running tasks to save their state and to end; those that wait are dropped."""

    def attend(self) -> None:  # noqa: B027 - most engines need no attention
        """Do what is to be done several times a second while tasks are running."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *raised: object) -> None:
        """End all processes that are this engine's own."""

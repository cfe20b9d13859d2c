"""What a tracker keeps of a run or of a comparison, and where: the contract of all trackers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from deepchest_cli.training.tracking.records import Record

Outcome = Literal["finished", "interrupted", "failed"]
SECONDS = 20  # to wait for a server, once


@dataclass(frozen=True)
class Destinations:
    """Where trackers keep their records: what the user has set, or None where that is nothing."""

    mlflow: str | None = None  # a tracking URI
    mlflow_folder: Path = Path("mlruns")  # of the store that is used without one
    mlflow_experiment: str = "deepchest"
    wandb_mode: str = "offline"
    wandb_folder: Path | None = Path()  # in which W&B makes a folder `wandb`; None: it decides
    wandb_project: str = "deepchest"


@dataclass(frozen=True)
class Group:
    """The comparison, or the run with folds, that a run is of."""

    name: str
    parents: Mapping[str, str] = field(default_factory=dict)  # identifiers of its own records


@dataclass(frozen=True)
class GroupTracking:
    """With which trackers the runs of a comparison are logged, and where."""

    trackers: tuple[str, ...]
    destinations: Destinations
    group: Group


@dataclass(frozen=True)
class Subject:
    """What a record is about: a run, or a comparison as a whole."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    group: Group | None = None
    kind: Literal["run", "comparison"] = "run"

    @property
    def counted(self) -> str:
        """What the steps of its record count, the name of a metric."""
        return "epoch" if self.kind == "run" else "runs"


class Tracker(ABC):
    """A record of a tracker, open for writing; any method may raise whatever its package raises."""

    title: ClassVar[str]  # as its makers write it
    has_parents: ClassVar[bool] = False  # whether the record of a comparison comes before its runs
    identifier: str  # by which the record is found again
    place: str = ""  # the store that has it
    step: int = 0  # the last that the record is known to have

    @abstractmethod
    def __init__(self, subject: Subject, destinations: Destinations, record: Record | None) -> None:
        """Begin a record with the configuration of its subject, or go on with an earlier one.

        An earlier one that is no longer there, or in another place, is begun anew: `step` is 0.
        """

    @classmethod
    @abstractmethod
    def check(cls, destinations: Destinations, record: Record | None = None) -> None:
        """Raise `UsageError` where the package is missing, or a server does not answer in time.

        record: an earlier one of a run that is resumed.
        """

    @staticmethod
    def store(destinations: Destinations, record: Record | None) -> str:
        """Return the store that is written now, of which an earlier record may tell."""
        return ""

    @staticmethod
    @abstractmethod
    def hint(folder: Path, destinations: Destinations, record: Record | None) -> str:
        """Return where the record of a folder is, and the command that shows it."""

    @abstractmethod
    def log_metrics(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add finite values by name to a step, which counts from 1 what `Subject.counted` says."""

    @abstractmethod
    def log_texts(self, texts: Mapping[str, str]) -> None:
        """Set what is said of the subject as a whole, by name."""

    @abstractmethod
    def log_files(self, step: int, files: Sequence[Path]) -> None:
        """Add plots and, where the tracker keeps files, the files; earlier ones are replaced."""

    @abstractmethod
    def close(self, outcome: Outcome) -> None:
        """Write what is left, and say how the subject has ended."""

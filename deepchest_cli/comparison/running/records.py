"""The record of a run of a comparison: how it ended, and whether that counts."""

import json
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from deepchest_cli.comparison.running.attempts import attempts_at
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.errors import DeepChestError, UsageError

if TYPE_CHECKING:  # imports h5py, without which records are listed
    from deepchest_cli.data.dataset import RadiographDataset

RECORD, PREDICTIONS = "run.json", "test.npz"
Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """How a run of a comparison ended."""

    status: Status
    data_sha256: str
    learning_rate: float
    settings: str  # SHA-256, see Job.settings
    device: str = ""  # cpu, cuda or mps; empty where the run could not begin
    precision: str = ""
    error: str | None = None
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_score: float | None = None  # on the validation split, by `criterion`
    criterion: str = ""
    initial_weights_sha256: str = ""  # SHA-256
    batches_sha256: tuple[str, ...] = ()  # SHA-256 of all rows up to the end of each epoch
    notes: tuple[str, ...] = ()  # of the weighter
    earlier_errors: tuple[str, ...] = ()  # of attempts that failed, for lack of memory for instance
    traceback: str | None = None  # of an error that nobody has foreseen

    @property
    def ends_process(self) -> bool:
        """Whether the process that trained it should not train another: memory may be taken."""
        return self.status == "failed"

    @property
    def is_final(self) -> bool:
        """Whether training again would end alike, unlike after a lack of memory or disk space."""
        return self.status != "failed"


def retrain_hint(folder: Path) -> str:
    """Return how to repair a run whose files are lost or damaged."""
    return f"Remove the folder {folder} and continue with --resume: it is then trained again."


def read_record(folder: Path) -> RunRecord | None:
    """Return how the run in a folder ended; None if it has not."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lists = ("batches_sha256", "notes", "earlier_errors")
        record = RunRecord(**values | {n: tuple(values[n]) for n in lists if n in values})
        if record.status not in get_args(Status):
            raise ValueError(f"status {record.status!r}")
        float(record.best_score or 0)
        return record
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeepChestError(f"{path} is damaged: {error!r}.", retrain_hint(folder)) from error


def latest_record(place: Path) -> RunRecord | None:
    """Return how a run ended, or how the newest attempt at it failed; None: neither yet."""
    attempts = attempts_at(place)
    return read_record(place) or (read_record(attempts[-1]) if attempts else None)


def final_record(job: Job, dataset: "RadiographDataset") -> RunRecord | None:
    """Return the record of a run that needs no more training; None if it does.

    Raises `UsageError` where the run was trained on other data or with other settings.
    """
    record = read_record(job.folder)
    if record is None:
        return None
    if record.settings != job.settings:
        raise UsageError(
            f"{job.folder} was trained with other settings, other files of options or another "
            "partition into folds than this comparison has now.",
            "Restore them, or begin a new comparison.",
        )
    refuse_other_data(record.data_sha256, dataset, f"{job.folder} was trained")
    return record if record.is_final else None


def refuse_other_data(sha256: str, dataset: "RadiographDataset", since: str) -> None:
    """Raise `UsageError` unless the data are those with a hash; since: what they were used for."""
    if sha256 == dataset.sha256:
        return
    before = _order_of(sha256, dataset)
    if before:
        raise UsageError(
            f"The data sets are in another order than when {since}.",
            f"Name them as before: {' '.join(f'--data {folder}' for folder in before)}",
        )
    raise UsageError(
        f"The data in {dataset.folders} have changed since {since}.",
        "Prepare them with the same settings again, or begin a new comparison.",
    )


def _order_of(sha256: str, dataset: "RadiographDataset") -> list[Path]:
    """Return the folders in the order in which their data have a hash; none if they never do."""
    for members in permutations(dataset.members):
        if replace(dataset, members=members).sha256 == sha256:
            return [member.folder for member in members]
    return []


def is_complete(job: Job, record: RunRecord | None) -> bool:
    """Whether nothing is left to train or to predict."""
    if record is None or not record.is_final:
        return False
    is_scored = job.scored and record.status == "finished"
    return not is_scored or (job.folder / PREDICTIONS).is_file()

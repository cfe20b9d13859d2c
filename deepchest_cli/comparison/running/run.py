"""One run of a comparison, from its beginning or from where it was interrupted."""

import gc
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import DeepChestError, DivergedError, InterruptedRunError, UsageError
from deepchest_cli.files import write_json
from deepchest_cli.model.checkpoint import LAST
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.loop import Trainer, TrainingSummary
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.run_directory import fill_run

RECORD = "run.json"
Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """How a run of a comparison ended."""

    status: Status
    data_sha256: str
    learning_rate: float
    settings: str  # SHA-256 of what it was trained with
    device: str = ""  # its kind: cpu, cuda, mps; empty where the run could not begin
    precision: str = ""
    error: str | None = None
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    criterion: str = ""
    initial_weights: str = ""
    batches: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what the weighter had to say

    @property
    def is_final(self) -> bool:
        """Whether running it again would give the same: not where memory or a disk failed it."""
        return self.status != "failed"


def read_record(folder: Path) -> RunRecord | None:
    """Return how the run in a folder ended; None: it has not."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        batches, notes = tuple(values.pop("batches")), tuple(values.pop("notes"))
        record = RunRecord(**values, batches=batches, notes=notes)
        if record.status not in get_args(Status):
            raise ValueError(f"status {record.status!r}")
        float(record.best_score or 0)
        return record
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeepChestError(f"{path} is damaged: {error!r}.", again(folder)) from error


def again(folder: Path) -> str:
    """Return how a run whose files are lost or damaged is mended."""
    return f"Remove the folder {folder} and go on with --resume: it is then trained again."


def kept_record(job: Job, dataset: RadiographDataset) -> RunRecord | None:
    """Return how a run has ended for good.

    Raises `UsageError` where that was on other data or with other settings.
    """
    record = read_record(job.folder)
    if record is not None and record.settings != job.settings:
        raise UsageError(
            f"{job.folder} was trained with other settings, or other files of options, than this "
            "comparison has now.",
            "Restore them, or begin a new comparison.",
        )
    if record is not None and record.data_sha256 != dataset.sha256:
        raise UsageError(
            f"The data in {job.config.data} have changed since {job.folder} was trained.",
            "Prepare them with the same settings again, or begin a new comparison.",
        )
    return record if record is not None and record.is_final else None


def run_job(job: Job, dataset: RadiographDataset, observer: Observer) -> RunRecord:
    """Train one run to its end and leave its record; a divergence is a result as well.

    Raises `InterruptedRunError` with the state saved. What has ended before is not done again.
    """
    before = kept_record(job, dataset)
    if before is not None:
        return before
    record = _train(job, dataset, observer)
    job.folder.mkdir(parents=True, exist_ok=True)  # not there where it could not even begin
    write_json(job.folder / RECORD, asdict(record))
    if record.is_final:
        (job.folder / LAST).unlink(missing_ok=True)  # thrice the size of the model, and used up
    return record


def _train(job: Job, dataset: RadiographDataset, observer: Observer) -> RunRecord:
    record = RunRecord("finished", dataset.sha256, job.config.learning_rate, job.settings)
    trainer = None
    try:
        resumed = (job.folder / LAST).is_file()
        setup = build_components(job.config, resumed=resumed, dataset=job.view(dataset))
        record = replace(record, device=setup.device.type, precision=setup.precision)
        trainer = _begin(setup, job.folder, observer)
        summary = trainer.fit()
    except (InterruptedRunError, UsageError):
        raise
    except (DeepChestError, RuntimeError) as error:  # memory that runs out, too
        status: Status = "diverged" if isinstance(error, DivergedError) else "failed"
        return replace(record, status=status, error=str(error), **_traces(trainer))
    finally:
        release()
    return replace(record, **_figures(summary), notes=tuple(trainer.state.notes))


def _begin(setup: TrainingComponents, folder: Path, observer: Observer) -> Trainer:
    fill_run(folder, setup.config)
    trainer = Trainer(setup, folder, observer)
    try:
        trainer.resume()
    except DeepChestError as error:  # its last checkpoint is lost, damaged or a stranger's
        raise UsageError(error.message, again(folder)) from error
    return trainer


def _traces(trainer: Trainer | None) -> dict[str, Any]:
    if trainer is None:  # it had not begun
        return {}
    position = trainer.state
    return {
        "initial_weights": position.initial_weights,
        "batches": tuple(position.epoch_batches),
        "epochs": position.epoch,
        "steps": position.step,
    }


def _figures(summary: TrainingSummary) -> dict[str, Any]:
    values = asdict(summary)
    names = (
        "epochs",
        "steps",
        "best_epoch",
        "best_score",
        "criterion",
        "initial_weights",
        "batches",
    )
    return {name: values[name] for name in names}


def release() -> None:
    """Give back what a run has taken, so that the next one begins with as much."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Whether runs that are compared began alike: from the same weights, on the same batches."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepchest_cli.comparison.running.job_list import Runs
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import RunRecord, retrain_hint
from deepchest_cli.errors import DeepChestError


@dataclass(frozen=True)
class SharedStart:
    """The initial weights and the batches that all runs of a seed, and of a fold, have shared."""

    seed: int
    fold: int | None  # counted from 1
    initial_weights_sha256: str
    batches_sha256: tuple[str, ...]  # of all rows up to each epoch's end, of the longest run
    runs: int


def verify_shared_starts(runs: Sequence[tuple[Job, RunRecord]]) -> list[SharedStart]:
    """Return the start that the runs of each seed and fold share.

    Raises `DeepChestError` where a run had other initial weights or other batches than the rest,
    or was computed in another precision or on another kind of device.
    """
    groups: dict[tuple[int, int | None], Runs] = {}
    for job, record in runs:
        if record.initial_weights_sha256:  # empty where the run could not begin
            groups.setdefault((job.config.seed, job.fold_number), []).append((job, record))
    return [_shared_start(seed, fold, group) for (seed, fold), group in groups.items()]


def _shared_start(seed: int, fold: int | None, group: Runs) -> SharedStart:
    longest = max((record for _, record in group), key=lambda record: len(record.batches_sha256))
    first_job, first = group[0]
    for job, record in group:
        epochs = len(record.batches_sha256)  # a run may have stopped early
        expected = longest.initial_weights_sha256, longest.batches_sha256[:epochs]
        if (record.initial_weights_sha256, record.batches_sha256) != expected:
            raise DeepChestError(
                f"{job.name} began with other weights or saw other batches than the runs that it "
                "is compared with.",
                retrain_hint(job.folder),
            )
        if (record.device, record.precision) != (first.device, first.precision):
            raise DeepChestError(
                f"{job.name} was computed on {record.device} in {record.precision}, and "
                f"{first_job.name}, which it is compared with, on {first.device} in "
                f"{first.precision}.",
                "Give one --device and one --precision to all runs, in a new comparison.",
            )
    return SharedStart(
        seed, fold, longest.initial_weights_sha256, longest.batches_sha256, len(group)
    )

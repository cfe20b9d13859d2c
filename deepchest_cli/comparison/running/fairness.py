"""Whether the runs of a comparison had the same start and the same batches: shown, not claimed."""

from collections.abc import Sequence
from dataclasses import dataclass

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord
from deepchest_cli.errors import DeepChestError


@dataclass(frozen=True)
class Start:
    """What the runs of one seed, and one fold, had in common."""

    seed: int
    fold: int | None  # counted from 1
    initial_weights: str  # SHA-256
    batches: tuple[str, ...]  # SHA-256 of all rows until each epoch's end, of the longest run
    runs: int


def common_starts(jobs: Sequence[Job], records: Sequence[RunRecord]) -> list[Start]:
    """Return what the runs of each seed and fold began with and saw.

    Raises `DeepChestError` where one of them had other initial weights or other batches, or was
    computed in another precision or on another kind of device: a comparison of such runs would say
    nothing.
    """
    groups: dict[tuple[int, int | None], list[tuple[Job, RunRecord]]] = {}
    for job, record in zip(jobs, records, strict=True):
        if record.initial_weights:
            fold = None if job.fold is None else job.fold[0] + 1
            groups.setdefault((job.config.seed, fold), []).append((job, record))
    return [_common(seed, fold, group) for (seed, fold), group in groups.items()]


def _common(seed: int, fold: int | None, group: list[tuple[Job, RunRecord]]) -> Start:
    longest = max((record for _, record in group), key=lambda record: len(record.batches))
    for job, record in group:
        seen = longest.batches[: len(record.batches)]  # a run may have stopped early
        if (record.initial_weights, record.batches) != (longest.initial_weights, seen):
            raise DeepChestError(
                f"{job.name} began with other weights or saw other batches than the runs that it "
                "is compared with.",
                f"Remove {job.folder} and go on with --resume: it is then trained again.",
            )
    _refuse_mixture(group)
    return Start(seed, fold, longest.initial_weights, longest.batches, len(group))


def _refuse_mixture(group: list[tuple[Job, RunRecord]]) -> None:
    first, kept = group[0]
    for job, record in group[1:]:
        if (record.device, record.precision) != (kept.device, kept.precision):
            raise DeepChestError(
                f"{job.name} was computed on {record.device} in {record.precision}, and "
                f"{first.name}, which it is compared with, on {kept.device} in {kept.precision}.",
                "Give one --device and one --precision to all runs, in a new comparison.",
            )

"""Each weighter's learning rate, chosen on validation from the same grid."""

from collections.abc import Sequence

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord


def best_rates(jobs: Sequence[Job], records: Sequence[RunRecord]) -> dict[str, float]:
    """Return the rate with the best validation score by the arm's label; of equals the lowest.

    An arm that diverged at every rate keeps the lowest.
    """
    best: dict[str, tuple[float, float]] = {}
    for job, record in zip(jobs, records, strict=True):
        score = record.best_score if record.status == "finished" else None
        candidate = (float("-inf") if score is None else score, -job.config.learning_rate)
        best[job.arm.label] = max(best.get(job.arm.label, candidate), candidate)
    return {label: -rate for label, (_, rate) in best.items()}

"""The results of a comparison, for trackers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.analysis.summary import shown_verdict
from deepchest_cli.comparison.output.writing import FIGURES, REPORT, TABLES
from deepchest_cli.comparison.running.comparison import TrainedComparison
from deepchest_cli.comparison.running.jobs import RESULTS
from deepchest_cli.comparison.running.tracking import log_missing, subject_of
from deepchest_cli.config import RUN_CONFIG
from deepchest_cli.files import sha256_of
from deepchest_cli.training.run_files import ENVIRONMENT, WEIGHTS
from deepchest_cli.training.tracking.base import GroupTracking
from deepchest_cli.training.tracking.observer import Records, closing
from deepchest_cli.training.tracking.records import reason_of
from deepchest_cli.training.tracking.registry import TRACKERS

METRIC = "macro_auroc"
FILES = (
    REPORT, RESULTS, RUN_CONFIG, ENVIRONMENT, WEIGHTS, *(f"{name}.csv" for name in TABLES),
    *(f"{name}.png" for name in FIGURES),
)  # fmt: skip


def track_comparison(
    comparison: TrainedComparison, results: dict[str, Any], warn: Callable[[str], None]
) -> None:
    """Log what trackers lack of a comparison: of its runs, and its results, which are written.

    warn: receives the failure of a tracker, once.
    """
    tracking = comparison.tracking
    if tracking is None:
        return
    runs = [*comparison.tuning, *comparison.runs, *comparison.single_task]
    for name in log_missing(runs, tracking, warn):
        try:
            _log_results(name, comparison.folder, results, tracking, len(comparison.runs))
        except Exception as error:
            title, reason = TRACKERS[name].title, reason_of(error)
            warn(f"{title} does not have the results ({reason}); --resume tries it again.")


def _log_results(
    name: str, folder: Path, results: dict[str, Any], tracking: GroupTracking, runs: int
) -> None:
    records, content = Records(folder), sha256_of(folder / RESULTS)
    record = records.of(name, tracking.destinations)
    if record is not None and record.content == content:
        return
    metrics, texts = values_of(results)
    tracker = TRACKERS[name](subject_of(folder), tracking.destinations, record)
    with closing(tracker):
        tracker.step = runs  # of several seeds, later ones are added
        tracker.log_metrics(runs, metrics)
        tracker.log_texts(texts)
        tracker.log_files(runs, [folder / one for one in FILES if (folder / one).is_file()])
    records.note(name, tracker, content)


def values_of(results: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Return the results as numbers and as texts by name: those of each weighter, by its label."""
    metrics: dict[str, float | None] = {}
    texts = {"summary": " ".join(results["summary"])}
    for label, entry in results["weighters"].items():
        texts[f"status/{label}"] = entry["status"]
        metrics[f"{METRIC}/{label}"] = (entry["metrics"] or {}).get(METRIC, {}).get("mean")
        row = (entry["differences"] or {}).get(METRIC)
        if row:
            texts[f"verdict/{label}"] = shown_verdict(row)
            names = {"estimate": "difference", "low": "difference_low", "high": "difference_high"}
            metrics |= {f"{ours}/{label}": row[theirs] for theirs, ours in names.items()}
    return {name: value for name, value in metrics.items() if value is not None}, texts

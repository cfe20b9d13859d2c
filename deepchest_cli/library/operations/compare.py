"""What comparing weighters does, for the command and for the function."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import CompareConfig, find_data, parse_assignment
from deepchest_cli.data.text import count_of
from deepchest_cli.library.tracking import check_tracking
from deepchest_cli.reporter import Move, Reporter
from deepchest_cli.reporting.numbers import number
from deepchest_cli.user_cache import training_rates_file

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.comparison import TrainedComparison
    from deepchest_cli.comparison.running.records import RunRecord
    from deepchest_cli.comparison.running.runner import ComparisonObserver


def run_comparison(
    config: CompareConfig, reporter: Reporter, observer: Callable[[Move], "ComparisonObserver"]
) -> tuple[dict[str, Any], Path]:
    """Train the missing runs, test the differences, and return the results and their folder.

    config: as `extended_config` returns it. observer: returns what receives the reports, given what
    moves a bar. Raises `UsageError` before anything is trained, and what `train_comparison` raises.
    """
    from deepchest_cli.comparison.running.comparison import train_comparison

    destinations = check_tracking(config)
    reporter.note(primary_test(config))
    with (
        reporter.progress("Training") as move,
        train_comparison(config, observer(move), training_rates_file(), destinations) as comparison,
    ):
        if not comparison.newly_trained:
            reporter.note(f"{comparison.folder} has finished: nothing is left to train.")
        return analyze(comparison, reporter), comparison.folder


def refuse_unknown_weighters(config: CompareConfig) -> None:
    """Raise `UsageError` for an unknown name, before torch is imported."""
    from deepchest_cli.comparison.running.jobs import parse_arms
    from deepchest_cli.weighting.registry import read_weighter

    for arm in parse_arms(config.weighters):
        options = (parse_assignment(text, f"--weighters {arm.label}:") for text in arm.options)
        read_weighter(arm.weighter, options)


def with_found_data(config: CompareConfig, reporter: Reporter) -> CompareConfig:
    data, note = find_data(config.data)
    if note:
        reporter.note(note)
    return replace(config, data=data)


def primary_test(config: CompareConfig) -> str:
    """Return what decides, said before anything is trained."""
    from deepchest_cli.comparison.running.jobs import parse_arms

    others, data_sets = len(parse_arms(config.weighters)) - 1, len(config.data)
    mean = "" if data_sets == 1 else f", mean over {data_sets} data sets"
    single = "" if data_sets == 1 else f", and by data set over {others * data_sets} differences"
    return (
        f"Primary metric: macro AUROC{mean}, against equal, with a margin of {config.margin:g}; "
        f"{count_of(config.seeds, 'seed')}, Holm correction over "
        f"{count_of(others, 'weighter')}{single}."
    )


def analyze(comparison: "TrainedComparison", reporter: Reporter) -> dict[str, Any]:
    """Measure costs, test the differences, and write all results."""
    from deepchest_cli.comparison.analysis.document import build_results
    from deepchest_cli.comparison.output.writing import write_comparison
    from deepchest_cli.comparison.running.costs import load_or_measure_costs
    from deepchest_cli.device_errors import first_line

    reporter.detail("Measuring costs")
    try:
        costs = load_or_measure_costs(comparison)
    except (Exception, SystemExit) as error:  # the runs have finished, and may have taken days
        said = first_line(error) or type(error).__name__
        reporter.warning(f"The cost of a step was not measured ({said}); --resume tries it again.")
        costs = {}
    reporter.detail("Computing intervals and tests")
    results = write_comparison(comparison, build_results(comparison, costs))
    if comparison.tracking is not None:
        from deepchest_cli.comparison.output.tracking import track_comparison
        from deepchest_cli.training.tracking.records import read_records
        from deepchest_cli.training.tracking.registry import hints

        track_comparison(comparison, results, reporter.warning)
        tracking, folder = comparison.tracking, comparison.folder
        records = read_records(folder)
        for hint in hints(tracking.trackers, folder, tracking.destinations, records):
            reporter.note(hint)
    return results


def ending(record: "RunRecord") -> str:
    """Return how a run has ended, to stand after its name."""
    if record.status != "finished":
        return f" {record.status}: {record.error}"
    score = f"{record.criterion} {number(record.best_score, 4)}"
    return f": {score} in epoch {record.best_epoch} of {record.epochs}"

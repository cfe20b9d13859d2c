"""`deepchest compare-weighters`: a controlled comparison of weighters."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from deepchest_cli.commands.compare_weighters_display import (
    ComparisonDisplay,
    render_costs,
    render_results,
)
from deepchest_cli.commands.compare_weighters_jobs import (
    check_job_flags,
    complete_job,
    plan_jobs,
    report_interim,
)
from deepchest_cli.commands.next_steps import after_comparison, after_costs
from deepchest_cli.config import CompareConfig, flag_of
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import GateError, UsageError
from deepchest_cli.library.operations.compare import (
    analyze,
    primary_test,
    refuse_unknown_weighters,
    run_comparison,
    with_found_data,
)
from deepchest_cli.library.tracking import check_tracking
from deepchest_cli.reporting.numbers import distinguished
from deepchest_cli.terminal import Terminal


def compare_weighters(config: CompareConfig, terminal: Terminal) -> None:
    """Train weighters from the same initial weights on the same batches, and test the differences.

    Examples:  deepchest compare-weighters --weighters equal,deepchest,dwa --seeds 3

    deepchest compare-weighters --weighters 'deepchest,deepchest[signal=auroc]'

    deepchest compare-weighters --resume comparisons/20260101-120000 --seeds 5

    deepchest compare-weighters --seeds 5 --resume auto --out comparisons/mine

    deepchest compare-weighters --plan --out comparisons/mine

    deepchest compare-weighters --resume comparisons/mine --job 1

    deepchest compare-weighters --cost-only --cost-tasks 2,14,56
    """
    refuse_unknown_weighters(config)
    from deepchest_cli.training.resume import folder_to_resume, resolve_auto

    _check_cost_flags(config)
    check_job_flags(config)
    if config.cost_only:
        _show_costs(with_found_data(config, terminal), terminal)
        return
    config = resolve_auto(config)
    if folder_to_resume(config) is None:
        config = with_found_data(config, terminal)
    extended = _extended(config)
    if config.plan:
        terminal.note(primary_test(extended))
        plan_jobs(extended, terminal)
    elif config.job is not None:
        complete_job(extended, config.job, terminal)
    elif config.report:
        _report(extended, terminal)
    else:
        observer = partial(ComparisonDisplay, terminal)
        _show(*run_comparison(extended, terminal, observer), extended, terminal)


def _report(config: CompareConfig, terminal: Terminal) -> None:
    """Evaluate what is there of a comparison, and check the gates."""
    from deepchest_cli.comparison.running.comparison import read_comparison, require_a_finished_arm

    comparison = read_comparison(config, check_tracking(config))
    if comparison.is_complete:
        require_a_finished_arm(comparison)
        _show(analyze(comparison, terminal), comparison.folder, config, terminal)
    else:
        check_interim_gates(report_interim(comparison, terminal), config)


def _show(results: dict[str, Any], folder: Path, config: CompareConfig, terminal: Terminal) -> None:
    """Print the results, check the gates, and name the command that follows."""
    if terminal.json:
        terminal.document(results)
    else:
        render_results(results, folder, terminal)
    check_gates(results, config)
    terminal.next_step(after_comparison(results, folder, config))


def _show_costs(config: CompareConfig, terminal: Terminal) -> None:
    from deepchest_cli.comparison.running.costs import cost_tables
    from deepchest_cli.comparison.running.jobs import parse_arms
    from deepchest_cli.data.merging import open_datasets

    arms, dataset = parse_arms(config.weighters), open_datasets(config.data)
    with terminal.progress("Measuring") as move:
        tables = cost_tables(config, arms, dataset, move)
    if terminal.json:
        terminal.document({"tables": tables})
        return
    render_costs(tables, terminal)
    terminal.next_step(after_costs(config))


def _check_cost_flags(config: CompareConfig) -> None:
    """Raise `UsageError` for flags that have no effect with, or without, --cost-only."""
    training = (
        "fail_if_inferior", "folds", "single_task", "tune_learning_rate", "resume", "out", "track",
    )  # fmt: skip
    for name in training if config.cost_only else ("cost_tasks", "cost_backbones"):
        flag = flag_of(name)
        if config.cost_only and getattr(config, name):
            raise UsageError(f"{flag} does not go with --cost-only.", "Drop one of the two.")
        if not config.cost_only and getattr(config, name) is not None:
            raise UsageError(f"{flag} goes with --cost-only.", f"Add --cost-only, or drop {flag}.")


def _extended(config: CompareConfig) -> CompareConfig:
    """Return the configuration with the weighters and seeds that it resumes, gates checked."""
    from deepchest_cli.comparison.running.folder import extended_config
    from deepchest_cli.comparison.running.jobs import BASELINE, parse_arms
    from deepchest_cli.evaluation.statistics import MIN_SEEDS

    config = extended_config(config)
    arms = parse_arms(config.weighters)[1:]
    labels = {arm.label: arm.label for arm in arms} | {arm.text: arm.label for arm in arms}
    gates = []
    for given in config.fail_if_inferior:
        text = parse_arms(given)[-1].text if given != BASELINE else ""
        if text not in labels:
            raise UsageError(
                f"--fail-if-inferior {given}: it is not among the weighters that are compared with "
                f"{BASELINE}.",
                f"Name one of {', '.join(arm.label for arm in arms)}; the margin is that of "
                "--margin.",
            )
        gates.append(labels[text])
    config = replace(config, fail_if_inferior=tuple(gates))
    if config.fail_if_inferior and config.seeds < MIN_SEEDS:
        raise UsageError(
            f"--fail-if-inferior needs an interval, and that takes {MIN_SEEDS} or more seeds. "
            f"Found {config.seeds}.",
            f"Give --seeds {MIN_SEEDS} or more.",
        )
    return config


def check_interim_gates(document: dict[str, Any], config: CompareConfig) -> None:
    """Raise `GateError` for each weighter of --fail-if-inferior: an interim report tests none."""
    from deepchest_cli.comparison.running.jobs import BASELINE

    missing = document["progress"]["missing"]
    missed = [
        f"{label} was not tested: {count_of(missing, 'run is', 'runs are')} missing"
        for label in config.fail_if_inferior
        if label != BASELINE
    ]
    _refuse(missed)


def _refuse(missed: list[str]) -> None:
    if missed:
        raise GateError(f"The quality gate was not met (macro AUROC): {'; '.join(missed)}.")


def check_gates(results: dict[str, Any], config: CompareConfig) -> None:
    """Raise `GateError` unless each weighter of --fail-if-inferior is shown to be non-inferior.

    That is: the 95 % interval of its difference in macro AUROC to equal lies above minus the
    margin (FDA 2016, Non-Inferiority Clinical Trials).
    """
    from deepchest_cli.evaluation.statistics import SAME

    missed, margin = [], config.margin
    for label in config.fail_if_inferior:
        rows = results["weighters"][label]["differences"]
        if label == results["design"]["baseline"]:
            continue
        row = rows["macro_auroc"] if rows else None
        if row and row["untested"] == SAME and row["estimate"] >= -margin:
            continue
        if row is None or row["single_low"] is None:
            why = "it has not finished" if row is None else row["untested"]
            missed.append(f"{label} was not tested: {why}")
        elif not row["single_low"] > -margin:
            low, bound = distinguished(row["single_low"], -margin, 4)
            missed.append(
                f"{label} {row['estimate']:+.4f} relative to equal, at worst {low} "
                f"(95 % interval), allowed {bound}"
            )
    _refuse(missed)

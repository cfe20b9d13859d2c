"""`deepchest compare-weighters`: the fair test of weighters against each other."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.compare_display import ComparisonDisplay, cost_rows, render_results
from deepchest_cli.commands.user_cache import training_rates_file
from deepchest_cli.config import CompareConfig, find_data, parse_assignment
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import GateError, UsageError
from deepchest_cli.terminal import Terminal, table_of

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.comparison import Comparison


def compare_weighters(config: CompareConfig, terminal: Terminal) -> None:
    """Train weighters from the same weights on the same batches, and test how they differ.

    Examples:  deepchest compare-weighters --weighters equal,deepchest,uncertainty --seeds 3

    deepchest compare-weighters --weighters 'deepchest,deepchest[signal=auroc]' --tune-learning-rate

    deepchest compare-weighters --resume comparisons/20260101-120000 --seeds 5

    deepchest compare-weighters --seeds 5 --resume auto --out comparisons/mine

    deepchest compare-weighters --cost-only --cost-tasks 2,14,56 --cost-backbones resnet18,resnet50
    """
    _refuse_unknown_weighters(config)
    from deepchest_cli.training.resume import folder_to_resume, resolve_auto

    if config.cost_only:
        _refuse_idle_flags(config)
        _only_costs(_with_data(config, terminal), terminal)
        return
    _refuse_lonely_cost_flags(config)
    config = resolve_auto(config)
    if folder_to_resume(config) is None:
        config = _with_data(config, terminal)
    config = _with_gates(config)
    results, folder = _compare(config, terminal)
    if terminal.json:
        terminal.document(results)
    else:
        render_results(results, folder, terminal)
    check_gates(results, config)


def _refuse_unknown_weighters(config: CompareConfig) -> None:
    """Answer a misspelled name before torch is imported."""
    from deepchest_cli.comparison.running.arms import parse_arms
    from deepchest_cli.weighting.registry import read_weighter

    for arm in parse_arms(config.weighters):
        options = (parse_assignment(text, f"--weighters {arm.label}:") for text in arm.options)
        read_weighter(arm.weighter, options)


def _with_data(config: CompareConfig, terminal: Terminal) -> CompareConfig:
    data, note = find_data(config.data)
    if note:
        terminal.note(note)
    return replace(config, data=data)


def _compare(config: CompareConfig, terminal: Terminal) -> tuple[dict[str, Any], Path]:
    from deepchest_cli.comparison.running.comparison import compared

    with terminal.progress("Training") as move:
        display = ComparisonDisplay(terminal, move)
        with compared(config, display, display.on_scored, training_rates_file()) as found:
            if not found.trained:
                terminal.note(f"{found.folder} has finished: nothing is left to train.")
            return _evaluated(found, terminal), found.folder


def _evaluated(found: "Comparison", terminal: Terminal) -> dict[str, Any]:
    """Measure costs, test the differences, and write everything."""
    from deepchest_cli.comparison.analysis.results import build_results
    from deepchest_cli.comparison.output.writing import write_comparison
    from deepchest_cli.comparison.running.comparison import devices_of
    from deepchest_cli.comparison.running.costs import kept_costs

    terminal.detail("Measuring costs")
    device = devices_of(found.config)[0]
    costs = kept_costs(found.config, found.finished_arms, found.dataset, device, found.folder)
    terminal.detail("Computing intervals and tests")
    return write_comparison(found, build_results(found, costs))


def _only_costs(config: CompareConfig, terminal: Terminal) -> None:
    from deepchest_cli.comparison.running.arms import parse_arms
    from deepchest_cli.comparison.running.comparison import devices_of
    from deepchest_cli.comparison.running.costs import cost_table
    from deepchest_cli.data.dataset import open_dataset

    arms, dataset = parse_arms(config.weighters), open_dataset(config.data)
    with terminal.progress("Measuring") as move:
        tables = cost_table(config, arms, dataset, devices_of(config)[0], move)
    if terminal.json:
        terminal.document({"tables": tables})
        return
    for number, table in enumerate(tables):
        terminal.line("" if number else "Cost of a step, relative to equal weighting")
        terminal.line(f"{table['backbone']}, {count_of(table['findings'], 'finding')}")
        columns = ["weighter", "step", "95 % interval", "images/s", "peak", "state", "passes"]
        terminal.table(table_of(columns, cost_rows(table["costs"])))


def _refuse_idle_flags(config: CompareConfig) -> None:
    """--cost-only trains nothing: a gate that it seems to pass would be a lie."""
    for name in ("fail_if_inferior", "folds", "single_task", "tune_learning_rate", "resume", "out"):
        if getattr(config, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} does not go with --cost-only.", "Drop one of the two.")


def _refuse_lonely_cost_flags(config: CompareConfig) -> None:
    for name in ("cost_tasks", "cost_backbones"):
        if getattr(config, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} goes with --cost-only.", f"Add --cost-only, or drop {flag}.")


def _with_gates(config: CompareConfig) -> CompareConfig:
    """Return the configuration with all that is compared; its gates name weighters among it."""
    from deepchest_cli.comparison.running.arms import parse_arms
    from deepchest_cli.comparison.running.folder import widened

    config = widened(config)
    labels = [arm.label for arm in parse_arms(config.weighters)]
    for label in config.fail_if_inferior:
        if label not in labels:
            raise UsageError(
                f"--fail-if-inferior {label}: it is not among the weighters.",
                f"Name one of {', '.join(labels)}; the margin is that of --margin.",
            )
    return config


def check_gates(results: dict[str, Any], config: CompareConfig) -> None:
    """Raise `GateError` where a weighter of --fail-if-inferior is lower by more than --margin."""
    missed, margin = [], config.margin
    for label in config.fail_if_inferior:
        rows = results["weighters"][label]["differences"]
        estimate = rows["macro_auroc"]["estimate"] if rows else None
        if estimate is not None and not math.isfinite(estimate):
            estimate = None
        if label != results["design"]["baseline"] and (estimate is None or estimate < -margin):
            found = "undefined" if estimate is None else f"{estimate:+.4f}"
            missed.append(f"{label} {found} against equal, allowed {-margin:+.4f}")
    if missed:
        raise GateError(f"The quality gate was not met (macro AUROC): {'; '.join(missed)}.")

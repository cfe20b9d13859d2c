"""`deepchest compare-weighters`: a controlled comparison of weighters."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from deepchest_cli.commands.user_cache import training_rates_file
from deepchest_cli.config import CompareConfig, find_data, flag_of, parse_assignment
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import GateError, UsageError
from deepchest_cli.reporting.numbers import (
    distinguished,
    gigabytes,
    interval,
    number,
    p_value,
    signed,
)
from deepchest_cli.terminal import Terminal, table_of

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.comparison import TrainedComparison
    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.run import RunRecord

BAR_STEPS = 100  # of the progress bar, for each run
WIDTH = 79  # of paragraphs, in characters


def compare_weighters(config: CompareConfig, terminal: Terminal) -> None:
    """Train weighters from the same initial weights on the same batches, and test the differences.

    Examples:  deepchest compare-weighters --weighters equal,deepchest,uncertainty --seeds 3

    deepchest compare-weighters --weighters 'deepchest,deepchest[signal=auroc]' --tune-learning-rate

    deepchest compare-weighters --resume comparisons/20260101-120000 --seeds 5

    deepchest compare-weighters --seeds 5 --resume auto --out comparisons/mine

    deepchest compare-weighters --cost-only --cost-tasks 2,14,56 --cost-backbones resnet18,resnet50
    """
    _check_weighters(config)
    from deepchest_cli.training.resume import folder_to_resume, resolve_auto

    _check_cost_flags(config)
    if config.cost_only:
        _show_costs(_with_data(config, terminal), terminal)
        return
    config = resolve_auto(config)
    if folder_to_resume(config) is None:
        config = _with_data(config, terminal)
    config = _extended(config)
    results, folder = _compare(config, terminal)
    if terminal.json:
        terminal.document(results)
    else:
        render_results(results, folder, terminal)
    check_gates(results, config)


def _check_weighters(config: CompareConfig) -> None:
    """Raise `UsageError` for an unknown name, before torch is imported."""
    from deepchest_cli.comparison.running.jobs import parse_arms
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
    from deepchest_cli.comparison.running.comparison import train_comparison

    terminal.note(_plan(config))
    with terminal.progress("Training") as move:
        display = ComparisonDisplay(terminal, move)
        with train_comparison(
            config, display, display.on_predicted, training_rates_file()
        ) as comparison:
            if not comparison.newly_trained:
                terminal.note(f"{comparison.folder} has finished: nothing is left to train.")
            return _analyze(comparison, terminal), comparison.folder


def _plan(config: CompareConfig) -> str:
    """Return what decides, said before anything is trained."""
    from deepchest_cli.comparison.running.jobs import parse_arms

    others = len(parse_arms(config.weighters)) - 1
    return (
        f"Primary metric: macro AUROC, against equal, with a margin of {config.margin:g}; "
        f"{count_of(config.seeds, 'seed')}, Holm correction over {count_of(others, 'weighter')}."
    )


def _analyze(comparison: "TrainedComparison", terminal: Terminal) -> dict[str, Any]:
    """Measure costs, test the differences, and write all results."""
    from deepchest_cli.comparison.analysis.document import build_results
    from deepchest_cli.comparison.output.writing import write_comparison
    from deepchest_cli.comparison.running.costs import load_or_measure_costs

    terminal.detail("Measuring costs")
    costs = load_or_measure_costs(comparison)
    terminal.detail("Computing intervals and tests")
    return write_comparison(comparison, build_results(comparison, costs))


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
    for i, table in enumerate(tables):
        terminal.line("" if i else "Cost of a step, relative to equal weighting")
        terminal.line(f"{table['backbone']}, {count_of(table['findings'], 'finding')}")
        columns = [
            "weighter", "step time", "95 % interval", "images/s", "peak memory", "state", "passes",
        ]  # fmt: skip
        terminal.table(table_of(columns, cost_rows(table["costs"])))


def _check_cost_flags(config: CompareConfig) -> None:
    """Raise `UsageError` for flags that have no effect with, or without, --cost-only."""
    training = ("fail_if_inferior", "folds", "single_task", "tune_learning_rate", "resume", "out")
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
    if missed:
        raise GateError(f"The quality gate was not met (macro AUROC): {'; '.join(missed)}.")


class ComparisonDisplay:
    """The observer of a comparison for `deepchest compare-weighters`."""

    def __init__(self, terminal: Terminal, move: Callable[[int, int], None]) -> None:
        self.terminal = terminal
        self.move = move

    def on_progress(self, done: float, total: int) -> None:
        """Move the bar."""
        self.move(int(BAR_STEPS * done), BAR_STEPS * total)

    def on_run(self, job: "Job", record: "RunRecord", done: int, total: int) -> None:
        """Print a run's line."""
        self.move(BAR_STEPS * done, BAR_STEPS * total)
        if record.status == "finished":
            ending = (
                f"{record.criterion} {number(record.best_score, 4)} in epoch {record.best_epoch} "
                f"of {record.epochs}"
            )
            self.terminal.note(f"run {done}/{total}  {job.name}: {ending}")
        else:
            self.terminal.warning(f"run {done}/{total}  {job.name} {record.status}: {record.error}")

    def on_note(self, text: str) -> None:
        """Print a weighter's note in verbose mode."""
        self.terminal.detail(text)

    def on_warning(self, text: str) -> None:
        """Print what the configuration could not have."""
        self.terminal.warning(text)

    def on_predicted(self, done: int, total: int) -> None:
        """Move the bar while the test split is predicted."""
        self.move(done, total)


def render_results(results: dict[str, Any], folder: Path, terminal: Terminal) -> None:
    """Print the ranking, the claims, the summary and the path of the report."""
    columns = [
        "weighter", "macro AUROC", "SD across seeds", "difference to equal",
        "simultaneous 95 % interval", "p (Holm)", "verdict", "macro AP", "worst finding",
        "rarest tertile", "mean rank", "step time",
    ]  # fmt: skip
    terminal.table(table_of(columns, _ranking(results), left="lrrrrrl"))
    terminal.line("")
    terminal.line("Claims of the paper's abstract")
    for claim in results["claims"]:
        terminal.line(f"{claim['name']}: {claim['verdict']}")
        for text in (f'"{claim["quote"]}"', claim["result"]):
            terminal.line(_paragraph(text))
    terminal.line("")
    for sentence in results["summary"]:
        terminal.line(sentence)
    terminal.line(f"Report: {folder / 'report.html'}")


def _paragraph(text: str) -> str:
    """Return indented lines, no number apart from its percent sign."""
    lines = fill(text.replace(" %", "\0%"), WIDTH, initial_indent="  ", subsequent_indent="  ")
    return lines.replace("\0%", " %")


def _ranking(results: dict[str, Any]) -> list[list[str]]:
    from deepchest_cli.comparison.analysis.summary import shortened

    entries = results["weighters"].items()
    ordered = sorted(entries, key=lambda entry: -_macro(entry[1]))
    costs = results["costs"]
    return [[shortened(label), *_row(entry, costs.get(label))] for label, entry in ordered]


def _macro(entry: Mapping[str, Any]) -> float:
    return entry["metrics"]["macro_auroc"]["mean"] if entry["metrics"] else float("-inf")


def _row(entry: Mapping[str, Any], cost: Mapping[str, Any] | None) -> list[str]:
    step = f"{cost['ratio']:.2f}" if cost else "–"
    metrics = entry["metrics"]
    if metrics is None:
        return [entry["status"], *["–"] * 4, "", *["–"] * 4, step]
    row = [number(metrics["macro_auroc"]["mean"], 4), number(metrics["macro_auroc"]["sd"], 4)]
    difference = entry["differences"] and entry["differences"]["macro_auroc"]
    if difference:
        row += [
            signed(difference["estimate"], 4),
            interval(difference, 4, sign=True),
            p_value(difference["p_holm"]),
            difference["verdict"],
        ]
    else:
        row += ["–", "–", "–", ""]
    names = ("macro_average_precision", "worst_auroc", "rarest_tertile_auroc")
    row += [number(metrics[name]["mean"]) for name in names]
    return [*row, number(entry["mean_rank"], 1), step]


def cost_rows(costs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return a table row of costs for each weighter."""
    return [
        [
            label,
            f"{cost['ratio']:.3f}",
            f"{cost['ratio_low']:.3f} to {cost['ratio_high']:.3f}",
            f"{cost['images_per_second']:.0f}",
            gigabytes(cost["peak_memory"]),
            f"{cost['state_bytes']:,} B",
            cost["passes"],
        ]
        for label, cost in costs.items()
    ]

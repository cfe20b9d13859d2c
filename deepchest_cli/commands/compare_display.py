"""Terminal output of a comparison: one line for each run, then the ranking and the claims."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.reporting.numbers import gigabytes, interval, number, p_value, signed
from deepchest_cli.terminal import Terminal, table_of

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.run import RunRecord

BAR_STEPS = 100  # of the progress bar, for each run


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

    def on_predicted(self, done: int, total: int) -> None:
        """Move the bar while the test split is predicted."""
        self.move(done, total)


def render_results(results: dict[str, Any], folder: Path, terminal: Terminal) -> None:
    """Print the ranking, the claims, the summary and the path of the report."""
    columns = [
        "weighter", "macro AUROC", "SD across seeds", "difference to equal", "95 % interval",
        "p (Holm)", "verdict", "macro AP", "worst finding", "rarest tertile", "mean rank",
        "step time",
    ]  # fmt: skip
    terminal.table(table_of(columns, _ranking(results), left="lrrrrrl"))
    terminal.line("")
    rows = [[claim["claim"], claim["verdict"], claim["result"]] for claim in results["claims"]]
    terminal.table(table_of(["claim of the paper", "verdict", "result"], rows, left="lll"))
    terminal.line("")
    for sentence in results["summary"]:
        terminal.line(sentence)
    terminal.line(f"Report: {folder / 'report.html'}")


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

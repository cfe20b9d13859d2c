"""What `deepchest compare-weighters` shows: progress, the ranking, claims and costs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import count_of, few, ranges
from deepchest_cli.reporting.numbers import gigabytes, interval, number, p_value, signed
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.records import RunRecord

BAR_STEPS = 100  # of the progress bar, for each run
WIDTH = 79  # of paragraphs, in characters


class ComparisonDisplay:
    """The observer of a comparison for `deepchest compare-weighters`."""

    def __init__(
        self, terminal: Terminal, move: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self.terminal = terminal
        self.move = move

    def on_progress(self, done: float, total: int) -> None:
        """Move the bar."""
        self.move(int(BAR_STEPS * done), BAR_STEPS * total)

    def on_run(self, job: "Job", record: "RunRecord", done: int, total: int) -> None:
        """Print a run's line."""
        self.move(BAR_STEPS * done, BAR_STEPS * total)
        line = f"run {done}/{total}  {job.name}{ending(record)}"
        if record.status == "finished":
            self.terminal.note(line)
        else:
            self.terminal.warning(line)

    def on_note(self, text: str) -> None:
        """Print a weighter's note in verbose mode."""
        self.terminal.detail(text)

    def on_warning(self, text: str) -> None:
        """Print what the configuration could not have."""
        self.terminal.warning(text)


def ending(record: "RunRecord") -> str:
    """Return how a run has ended, to stand after its name."""
    if record.status != "finished":
        return f" {record.status}: {record.error}"
    score = f"{record.criterion} {number(record.best_score, 4)}"
    return f": {score} in epoch {record.best_epoch} of {record.epochs}"


def render_results(results: dict[str, Any], folder: Path, terminal: Terminal) -> None:
    """Print the ranking, the data sets, the claims, the summary and the path of the report."""
    columns = [
        "weighter", "macro AUROC", "SD across seeds", "difference to equal",
        "simultaneous 95 % interval", "p (Holm)", "verdict", "macro AP", "worst finding",
        "rarest tertile", "mean rank", "step time",
    ]  # fmt: skip
    _name_mean(results, terminal)
    terminal.table(columns, _ranking(results), left="lrrrrrl")
    _render_data_sets(results, terminal)
    terminal.line("")
    terminal.line("Claims of the paper's abstract")
    for claim in results["claims"]:
        terminal.line(f"{claim['name']}: {claim['verdict']}")
        for text in (f'"{claim["quote"]}"', claim["result"]):
            terminal.line(_paragraph(text, "  "))
    terminal.line("")
    for sentence in results["summary"]:
        terminal.line(sentence)
    terminal.line(f"Report: {folder / 'report.html'}")


def _name_mean(document: Mapping[str, Any], terminal: Terminal) -> None:
    """Print that metrics are means, where they are of several data sets."""
    data_sets = len(document["data"]["data_sets"])
    if data_sets > 1:
        terminal.line(f"Mean over {count_of(data_sets, 'data set')}")


def render_interim(
    document: Mapping[str, Any], folder: Path, terminal: Terminal, hints: str = ""
) -> None:
    """Print an interim report: progress, missing and failed runs, and `hints` on how to go on."""
    from deepchest_cli.comparison.analysis.summary import shortened

    seeds, rows = len(document["design"]["seeds"]), []
    for label, entry in document["weighters"].items():
        progress, found = entry["progress"], (entry["metrics"] or {}).get("macro_auroc", {})
        runs = f"{progress['finished']} of {progress['planned']}"
        complete = f"{len(entry['complete_seeds'])} of {seeds}"
        means = [number(found.get(key), 4) for key in ("mean", "sd")]
        rows.append([shortened(label), runs, complete, *means])
    _name_mean(document, terminal)
    terminal.table(["weighter", "runs", "seeds", "macro AUROC", "SD"], rows)
    terminal.line("Seeds: those of which all runs have finished; mean and SD are over these.")
    terminal.line("")
    for sentence in document["summary"]:
        terminal.line(_paragraph(sentence))
    terminal.line(_paragraph(f"Missing: {_missing(document)}."))
    errors = [f"{one['run']} {one['status']}: {one['error']}" for one in document["errors"]]
    if errors:
        terminal.line(few(map(_paragraph, errors), "\n"))
    if hints:
        terminal.line(hints)
    terminal.line(f"Interim report: {folder / 'interim.html'}")


def _missing(document: Mapping[str, Any]) -> str:
    """Return which runs are missing, by the numbers of their jobs where they have some."""
    numbers = [row["job"] for row in document["missing"]]
    if None in numbers:
        return few((row["run"] for row in document["missing"]), "; ")
    return f"{'job' if len(numbers) == 1 else 'jobs'} {ranges(numbers)}"


def _render_data_sets(results: dict[str, Any], terminal: Terminal) -> None:
    """Print a table for each of several data sets."""
    from deepchest_cli.comparison.analysis.summary import shortened

    columns = ["weighter", "AUROC", "difference", "95 % interval", "p (Holm)", "verdict"]
    data_sets = results["data"]["data_sets"]
    if len(data_sets) == 1:
        return
    terminal.line("")
    terminal.line("Macro AUROC by data set, and the difference to equal; intervals and Holm")
    terminal.line("correction are for all rows together")
    for data_set in data_sets:
        rows = []
        for label, entry in _ordered(results):
            found = entry["data_sets"].get(data_set["name"])
            cells = ["–"] if found is None else [number(found["metrics"]["macro_auroc"]["mean"], 4)]
            rows.append([shortened(label), *cells, *_difference_cells(found)])
        images = count_of(data_set["test_images"], "test radiograph")
        patients = count_of(data_set["test_patients"], "patient")
        terminal.line(f"{data_set['name']}: {images} of {patients}")
        terminal.table(columns, rows, left="lrrrrl")


def _difference_cells(entry: Mapping[str, Any] | None) -> list[str]:
    """Return difference, interval, p-value and verdict by the primary metric."""
    row = entry and entry["differences"] and entry["differences"]["macro_auroc"]
    if not row:
        return ["–", "–", "–", ""]
    return [
        signed(row["estimate"], 4),
        interval(row, 4, sign=True),
        p_value(row["p_holm"]),
        row["verdict"],
    ]


def _paragraph(text: str, indent: str = "") -> str:
    """Return lines that fit a terminal, no number apart from its percent sign, no path cut."""
    lines = fill(
        text.replace(" %", "\0%"), WIDTH, initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return lines.replace("\0%", " %")


def _ordered(results: dict[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the weighters by their labels, the best first."""
    return sorted(results["weighters"].items(), key=lambda entry: -_macro(entry[1]))


def _ranking(results: dict[str, Any]) -> list[list[str]]:
    from deepchest_cli.comparison.analysis.summary import shortened

    costs = results["costs"]
    return [
        [shortened(label), *_row(entry, costs.get(label))] for label, entry in _ordered(results)
    ]


def _macro(entry: Mapping[str, Any]) -> float:
    return entry["metrics"]["macro_auroc"]["mean"] if entry["metrics"] else float("-inf")


def _row(entry: Mapping[str, Any], cost: Mapping[str, Any] | None) -> list[str]:
    step = f"{cost['ratio']:.2f}" if cost else "–"
    metrics = entry["metrics"]
    if metrics is None:
        return [entry["status"], *["–"] * 4, "", *["–"] * 4, step]
    row = [number(metrics["macro_auroc"]["mean"], 4), number(metrics["macro_auroc"]["sd"], 4)]
    row += _difference_cells(entry)
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
            f"{cost['synchronized_ratio']:.3f}",
            f"{cost['images_per_second']:.0f}",
            gigabytes(cost["peak_memory"]),
            f"{cost['state_bytes']:,} B",
            cost["passes"],
        ]
        for label, cost in costs.items()
    ]

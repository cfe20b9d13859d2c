"""What `deepchest compare-weighters` shows: progress, the ranking, claims and costs."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.data.text import count_of, few, ranges
from deepchest_cli.library.operations.compare import ending
from deepchest_cli.reporting.numbers import (
    UNDEFINED,
    gigabytes,
    number,
    p_value,
    with_interval,
)
from deepchest_cli.terminal import GAP, INDENT, NARROWEST, Terminal

if TYPE_CHECKING:
    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.records import RunRecord

BAR_STEPS = 100  # of the progress bar, for each run
# columns of the table that are always shown
ESSENTIAL = ("weighter", "verdict", "AUROC", "difference (95 % interval)")


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


def render_results(results: dict[str, Any], folder: Path, terminal: Terminal) -> None:
    """Print what was compared, the verdicts, the data sets, the claims and the conclusions."""
    columns = [
        *ESSENTIAL, "p (Holm)", "macro AP", "step time", "SD across seeds", "worst finding",
        "rarest tertile", "mean rank",
    ]  # fmt: skip
    intervals = "Differences have simultaneous 95 % intervals."
    terminal.paragraph(f"{_subject(results)} {intervals}")
    terminal.line("")
    _weighters_table(columns, _ranking(results), terminal, left="ll")
    _render_data_sets(results, terminal)
    terminal.line("")
    terminal.line("Claims of the paper's abstract")
    for claim in results["claims"]:
        terminal.line(f"{INDENT}{claim['name']}: {claim['verdict']}")
        if terminal.verbose:
            for text in (f'"{claim["quote"]}"', claim["result"]):
                terminal.paragraph(text, 2 * INDENT)
    terminal.line("")
    for sentence in results["summary"]:
        terminal.paragraph(sentence)
    terminal.paragraph(f"Report: {folder / 'report.html'}")


def _subject(document: Mapping[str, Any]) -> str:
    """Return what is compared, on what and against which margin."""
    data, design = document["data"], document["design"]
    sets, kind = data["data_sets"], "synthetic " if data["synthetic"] else ""
    mean = f", mean over {count_of(len(sets), 'data set')}," if len(sets) > 1 else ""
    images = count_of(data["test_images"], f"{kind}test radiograph")
    folds = f" and {count_of(design['folds'], 'fold')}" if design["folds"] else ""
    return (
        f"Macro AUROC{mean} of {count_of(len(document['weighters']), 'weighter')} on {images} of "
        f"{count_of(data['test_patients'], 'patient')} ({few(one['name'] for one in sets)}), with "
        f"{count_of(len(design['seeds']), 'seed')}{folds}, against {design['baseline']} with a "
        f"margin of {design['margin']:g}."
    )


def _weighters_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    terminal: Terminal,
    left: str = "l",
    essential: int = len(ESSENTIAL),
) -> None:
    """Print a table by weighters; a label that does not fit is numbered, and named below."""
    from deepchest_cli.comparison.analysis.summary import shortened

    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    room = max(terminal.width - sum(GAP + width for width in widths[1:essential]), NARROWEST)
    cells: list[list[str]] = []
    named: list[str] = []
    for label, *others in rows:
        shown = label
        if len(label) > room:
            mark = f"[{len(named) + 1}]"
            named.append(f"{mark} {label}")
            shown = f"{shortened(label.partition('[')[0], room - len(mark) - 1)} {mark}"
        cells.append([shown, *others])
    terminal.table(columns, cells, left=left, essential=essential)
    for label in named:
        for line in _broken_label(label, terminal.width):
            terminal.line(line.rstrip())


def _broken_label(label: str, width: int) -> list[str]:
    """Return a label with long options in lines of at most `width` characters, where it can be."""
    lines = [""]
    for piece in re.findall("[^, ]*[, ]?", label):  # ends after commas and blanks
        if lines[-1].strip() and len(lines[-1] + piece) > width:
            lines.append(2 * INDENT)
        lines[-1] += piece
    return lines


def render_interim(document: Mapping[str, Any], folder: Path, terminal: Terminal) -> None:
    """Print an interim report: progress, and missing and failed runs."""
    seeds, rows = len(document["design"]["seeds"]), []
    for label, entry in document["weighters"].items():
        progress, found = entry["progress"], (entry["metrics"] or {}).get("macro_auroc", {})
        runs = f"{progress['finished']} of {progress['planned']}"
        complete = f"{len(entry['complete_seeds'])} of {seeds}"
        means = [number(found.get(key), 4) for key in ("mean", "sd")]
        rows.append([label, runs, complete, *means])
    terminal.paragraph(_subject(document))
    terminal.line("")
    columns = ["weighter", "runs", "seeds", "macro AUROC", "SD"]
    _weighters_table(columns, rows, terminal, essential=len(columns))
    terminal.paragraph("Seeds: those of which all runs have finished; mean and SD are over these.")
    terminal.line("")
    for sentence in document["summary"]:
        terminal.paragraph(sentence)
    terminal.paragraph(f"Missing: {_missing(document)}.")
    errors = [f"{one['run']} {one['status']}: {one['error']}" for one in document["errors"]]
    if errors:
        terminal.paragraph(few(errors, "\n"))
    terminal.paragraph(f"Interim report: {folder / 'interim.html'}")


def _missing(document: Mapping[str, Any]) -> str:
    """Return which runs are missing, by the numbers of their jobs where they have some."""
    numbers = [row["job"] for row in document["missing"]]
    if None in numbers:
        return few((row["run"] for row in document["missing"]), "; ")
    return f"{'job' if len(numbers) == 1 else 'jobs'} {ranges(numbers)}"


def _render_data_sets(results: dict[str, Any], terminal: Terminal) -> None:
    """Print a table for each of several data sets."""
    data_sets = results["data"]["data_sets"]
    if len(data_sets) == 1:
        return
    terminal.line("")
    terminal.paragraph(
        "Macro AUROC by data set, and the difference to equal; intervals and Holm correction are "
        "for all rows together"
    )
    for data_set in data_sets:
        rows = []
        for label, entry in _ordered(results):
            found = entry["data_sets"].get(data_set["name"])
            auroc = None if found is None else found["metrics"]["macro_auroc"]["mean"]
            verdict, difference, p = _difference_cells(label, found, results)
            rows.append([label, verdict, number(auroc, 4), difference, p])
        images = count_of(data_set["test_images"], "test radiograph")
        patients = count_of(data_set["test_patients"], "patient")
        terminal.line(f"{data_set['name']}: {images} of {patients}")
        _weighters_table([*ESSENTIAL, "p (Holm)"], rows, terminal, left="ll")


def _difference_cells(
    label: str, entry: Mapping[str, Any] | None, results: Mapping[str, Any]
) -> tuple[str, str, str]:
    """Return verdict, difference with its interval and p-value by the primary metric."""
    from deepchest_cli.comparison.analysis.summary import shown_verdict

    row = entry and entry["differences"] and entry["differences"]["macro_auroc"]
    if not row:
        is_baseline = label == results["design"]["baseline"]
        return ("baseline" if is_baseline else UNDEFINED), UNDEFINED, UNDEFINED
    return (
        shown_verdict(row),
        with_interval({**row, "value": row["estimate"]}, 4, sign=True),
        p_value(row["p_holm"]),
    )


def _ordered(results: dict[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the weighters by their labels, the best first."""
    return sorted(results["weighters"].items(), key=lambda entry: -_macro(entry[1]))


def _ranking(results: dict[str, Any]) -> list[list[str]]:
    return [[label, *_row(label, entry, results)] for label, entry in _ordered(results)]


def _macro(entry: Mapping[str, Any]) -> float:
    return entry["metrics"]["macro_auroc"]["mean"] if entry["metrics"] else float("-inf")


def _row(label: str, entry: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    cost = results["costs"].get(label)
    step, metrics = f"{cost['ratio']:.2f}" if cost else UNDEFINED, entry["metrics"]
    if metrics is None:
        return [entry["status"], *[UNDEFINED] * 4, step, *[UNDEFINED] * 4]
    verdict, difference, p = _difference_cells(label, entry, results)
    auroc = metrics["macro_auroc"]
    return [
        verdict,
        number(auroc["mean"], 4),
        difference,
        p,
        number(metrics["macro_average_precision"]["mean"]),
        step,
        number(auroc["sd"], 4),
        number(metrics["worst_auroc"]["mean"]),
        number(metrics["rarest_tertile_auroc"]["mean"]),
        number(entry["mean_rank"], 1),
    ]


def render_costs(tables: Sequence[Mapping[str, Any]], terminal: Terminal) -> None:
    """Print a table of the cost of a step for each backbone and number of findings."""
    columns = [
        "weighter", "step time (95 % interval)", "peak memory", "images/s", "passes",
        "synchronized", "state",
    ]  # fmt: skip
    terminal.paragraph("Cost of a step, relative to equal weighting")
    for table in tables:
        terminal.line("")
        terminal.line(f"{table['backbone']}, {count_of(table['findings'], 'finding')}")
        rows = [[label, *_cost_row(cost)] for label, cost in table["costs"].items()]
        _weighters_table(columns, rows, terminal, essential=3)
    terminal.line("")
    terminal.paragraph(
        "Step time: of steps back to back, as in training. Synchronized: of single steps."
    )


def _cost_row(cost: Mapping[str, Any]) -> list[str]:
    ends = {"value": cost["ratio"], "low": cost["ratio_low"], "high": cost["ratio_high"]}
    return [
        with_interval(ends),
        gigabytes(cost["peak_memory"]),
        f"{cost['images_per_second']:.0f}",
        cost["passes"],
        f"{cost['synchronized_ratio']:.3f}",
        f"{cost['state_bytes']:,} B",
    ]

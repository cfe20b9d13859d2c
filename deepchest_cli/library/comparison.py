"""A comparison in a program: `compare(["equal", "deepchest"]).differences` is a table of pandas."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import nan
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import CompareConfig
from deepchest_cli.errors import InterruptedRunError, UsageError, unknown_name
from deepchest_cli.library.calls import alone, as_call, kept_torch_state
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, Shown, recorder
from deepchest_cli.library.operations.compare import (
    ending,
    refuse_unknown_weighters,
    run_comparison,
    with_found_data,
)
from deepchest_cli.library.run import Run, load_run
from deepchest_cli.reporter import Move, Reporter
from deepchest_cli.reporting.plots import drawn

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd
    from matplotlib.figure import Figure

    from deepchest_cli.comparison.running.jobs import Job
    from deepchest_cli.comparison.running.records import RunRecord
    from deepchest_cli.library.options import CompareOptions

BASELINE = "baseline"  # in place of a verdict
STEPS = 100  # of progress, for each run


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """A finished comparison in its folder.

    document: its results.json, of which all tables are made.
    """

    folder: Path
    document: dict[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def weighters(self) -> "pd.DataFrame":
        """A row for each weighter, the best first: macro AUROC, verdict and difference."""
        import pandas as pd

        from deepchest_cli.comparison.analysis.summary import shown_verdict

        rows = []
        for label, entry in self.document["weighters"].items():
            row = (entry["differences"] or {}).get("macro_auroc") or {}
            metrics = entry["metrics"] or {}
            rows.append(
                {
                    "weighter": label,
                    "status": entry["status"],
                    "macro_auroc": metrics.get("macro_auroc", {}).get("mean"),
                    "verdict": shown_verdict(row) if row else BASELINE,
                    **{key: row.get(key, nan) for key in ("estimate", "low", "high", "p_holm")},
                }
            )
        numbers = dict.fromkeys(("macro_auroc", "estimate", "low", "high", "p_holm"), float)
        table = pd.DataFrame(rows).set_index("weighter").astype(numbers)
        return table.sort_values("macro_auroc", ascending=False, kind="stable")

    @property
    def differences(self) -> "pd.DataFrame":
        """The differences to the baseline by weighter and metric, with intervals and tests."""
        return self.table("differences").set_index(["weighter", "metric"])

    def table(self, name: str) -> "pd.DataFrame":
        """Return a table of the folder: metrics, differences, finding-differences, costs, ...

        Empty where there is nothing of the kind. Raises `UsageError` for another name.
        """
        import pandas as pd

        from deepchest_cli.comparison.output.writing import TABLES, tables

        if name not in TABLES:
            raise unknown_name("table", name, TABLES)
        return pd.DataFrame(tables(self.document).get(f"{name}.csv", []))

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """The runs of each weighter, by its label."""
        return {
            label: [load_run(self.folder / run["folder"]) for run in entry["runs"]]
            for label, entry in self.document["weighters"].items()
        }

    def plot(self, name: str = "differences") -> "Figure":
        """Return a figure of the report: differences, findings, cost or weights.

        Raises `UsageError` for another name, and where there is nothing to draw.
        """
        from deepchest_cli.comparison.output.writing import (
            FIGURES,
            comparison_figures,
            read_traces,
        )

        if name not in FIGURES:
            raise unknown_name("plot", name, FIGURES)
        figures = comparison_figures(self.document, read_traces(self.folder))
        if name not in figures:
            raise UsageError(
                f"There is nothing to draw in the plot {name!r}.", f"Draw {', '.join(figures)}."
            )
        return drawn(figures[name])

    def __fspath__(self) -> str:
        return str(self.folder)

    def _shown(self) -> "tuple[str, pd.DataFrame, Sequence[str], str]":
        said = " ".join(self.document["summary"])
        return f"Comparison {self.folder}", self.weighters, self.warnings, said


@takes_flags_of(CompareConfig)
def compare(
    weighters: str | Iterable[str] | None = None,
    data: AnyPath | Iterable[AnyPath] | None = None,
    *,
    progress: bool | Receive = False,
    **options: "Unpack[CompareOptions]",
) -> Comparison:
    """Train weighters from the same initial weights on the same batches, and test the differences.

    weighters: names, also with options as in deepchest[signal=auroc]; equal is always included.
    data and progress: as of `train`. options: the flags of `deepchest compare-weighters`, in the
    form of keywords. An interrupt saves all state; `compare(resume=FOLDER)` goes on. Raises
    `UsageError` before anything is trained, and what the command reports as an error.

    >>> comparison = compare(["equal", "dwa"], backbone="small_cnn", epochs=1, max_steps=20)
    >>> comparison.differences
    """
    from deepchest_cli.comparison.running.folder import extended_config
    from deepchest_cli.training.resume import folder_to_resume, resolve_auto

    named = with_given(options, weighters=weighters, data=data)
    config = configuration(CompareConfig, "compare", named)
    refuse_unknown_weighters(config)
    report = recorder(progress)
    with alone("compare"), kept_torch_state(config.deterministic):
        config = resolve_auto(config)
        if folder_to_resume(config) is None:
            config = with_found_data(config, report)
        try:
            found = run_comparison(extended_config(config), report, partial(_Observer, report))
        except InterruptedRunError as error:
            raise as_call(error, "compare") from None
    return Comparison(found[1], found[0], tuple(report.notes), tuple(report.warnings))


def load_comparison(folder: str | PathLike[str]) -> Comparison:
    """Return the finished comparison in a folder.

    Raises `UsageError` where there is none, or has no results yet.

    >>> comparison = load_comparison("comparisons/first")
    >>> comparison.weighters
    """
    from deepchest_cli.comparison.running.jobs import RESULTS

    path = Path(fspath(folder))
    try:
        document = json.loads((path / RESULTS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path} is no folder of a finished comparison: {RESULTS} is missing.",
            "Check the path; compare(resume=FOLDER) finishes one that was begun.",
        ) from error
    except ValueError:  # cut short
        document = None
    if not isinstance(document, dict) or "weighters" not in document:
        raise UsageError(
            f"{path / RESULTS} is not of a comparison, or is damaged.",
            "Check the path; compare(resume=FOLDER) writes the results of a comparison again.",
        )
    return Comparison(path, document)


class _Observer:
    """Records the progress of a comparison."""

    def __init__(self, reporter: Reporter, move: Move) -> None:
        self.reporter, self.move = reporter, move

    def on_progress(self, done: float, total: int) -> None:
        self.move(int(STEPS * done), STEPS * total)

    def on_run(self, job: "Job", record: "RunRecord", done: int, total: int) -> None:
        self.move(STEPS * done, STEPS * total)
        line = f"run {done}/{total}  {job.name}{ending(record)}"
        (self.reporter.note if record.status == "finished" else self.reporter.warning)(line)

    def on_note(self, text: str) -> None:
        self.reporter.detail(text)

    def on_warning(self, text: str) -> None:
        self.reporter.warning(text)

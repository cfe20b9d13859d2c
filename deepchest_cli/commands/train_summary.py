"""What `deepchest train` shows at a run's end."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from deepchest_cli.data.text import count_of
from deepchest_cli.reporting.numbers import integer, number
from deepchest_cli.terminal import Terminal

if TYPE_CHECKING:
    from deepchest_cli.library.operations.folds import FoldsSummary
    from deepchest_cli.training.summary import DataSetSummary, TrainingSummary


def render_summary(summary: "TrainingSummary", terminal: Terminal) -> None:
    """Show how a run ended, with a table of its data sets where it has several."""
    if terminal.json:
        terminal.document({**asdict(summary), "run": str(summary.run)})
        return
    terminal.line(str(summary.run))
    early = " (stopped early)" if summary.stopped_early else ""
    kept = "best epoch" if summary.keep == "best" else "kept epoch"
    terminal.paragraph(
        f"{count_of(summary.epochs, 'epoch')}{early}, "
        f"{kept} {summary.best_epoch}, {summary.criterion} {number(summary.best_score, 4)}"
        f"{'' if summary.learning_rate is None else f', learning rate {summary.learning_rate:g}'}"
    )
    if len(summary.data_sets) > 1:
        _render_data_sets(summary.data_sets, terminal)


def render_folds(summary: "FoldsSummary", terminal: Terminal) -> None:
    """Show the out-of-fold results of a run with folds, and how its folds differ."""
    from deepchest_cli.commands.evaluate_display import fold_table
    from deepchest_cli.commands.evaluate_summary import subject
    from deepchest_cli.evaluation.output.statements import result

    if terminal.json:
        terminal.document(summary.to_plain())
        return
    terminal.line(str(summary.run))
    terminal.paragraph(f"{subject(summary.evaluation)}. {result(summary.evaluation)}")
    terminal.line("")
    terminal.table(*fold_table(summary.evaluation))
    epochs = ", ".join(f"{one.best_epoch} of {one.epochs}" for one in summary.folds)
    terminal.paragraph(f"Kept epoch of each fold: {epochs}.")


def _render_data_sets(data_sets: tuple["DataSetSummary", ...], terminal: Terminal) -> None:
    """Show what the best epoch's model does on each data set: one, and then one for findings."""
    rows = [
        [
            one.name,
            integer(one.training_images),
            integer(one.validation_images),
            integer(len(one.finding_auroc)),
            number(one.validation.get("auroc")),
        ]
        for one in data_sets
    ]
    columns = ["Data set", "training images", "validation images", "findings", "AUROC"]
    terminal.line("")
    terminal.table(columns, rows)
    findings = dict.fromkeys(finding for one in data_sets for finding in one.finding_auroc)
    rows = [
        [finding, *(number(one.finding_auroc.get(finding)) for one in data_sets)]
        for finding in findings
    ]
    terminal.line("")
    terminal.table(["Validation AUROC", *(one.name for one in data_sets)], rows)

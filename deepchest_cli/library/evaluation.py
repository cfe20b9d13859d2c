"""Evaluation in a program: `evaluate("runs/latest").findings` is a table of pandas."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import EvaluateConfig
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.library.keywords import AnyPath, configuration, takes_flags_of, with_given
from deepchest_cli.library.notebook import Receive, Shown, recorder
from deepchest_cli.library.operations.evaluate import run_evaluation
from deepchest_cli.reporting.plots import drawn

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd
    from matplotlib.figure import Figure

    from deepchest_cli.evaluation.evaluation_input import EvaluationInput
    from deepchest_cli.library.options import EvaluateOptions

TITLES = {"all": "all splits", "out-of-fold": "out-of-fold predictions"}
HEADLINE = ("positives", "auroc", "auroc_low", "auroc_high", "average_precision")  # of `findings`


@dataclass(frozen=True, repr=False)
class Evaluation(Shown):
    """The metrics of models, or of anybody's predictions, on one data set.

    document: what `deepchest evaluate --json` prints, of which all tables are made.
    """

    document: dict[str, Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    data_sets: tuple["Evaluation", ...] = ()  # of several data sets, each one's own
    _inputs: "EvaluationInput | None" = None

    @cached_property
    def findings(self) -> "pd.DataFrame":
        """A row for each finding: metrics, each with the ends of its 95 % interval.

        Of several data sets, the rows of each, by data set and finding.
        """
        return self._rows[self._rows.index.get_level_values("finding") != "macro"]

    @cached_property
    def macro(self) -> "pd.DataFrame":
        """The means over findings, in one row; of several data sets, in one row each."""
        return self._rows[self._rows.index.get_level_values("finding") == "macro"]

    @cached_property
    def _rows(self) -> "pd.DataFrame":
        import pandas as pd

        from deepchest_cli.evaluation.output.tables import data_set_rows, finding_rows

        if self.data_sets:
            rows = pd.DataFrame(data_set_rows(self.document))
            return rows.set_index(["data_set", "finding"])
        return pd.DataFrame(finding_rows(self.document)).set_index("finding")

    def table(self, name: str) -> "pd.DataFrame":
        """Return a table of the report: operating-points, calibration, subgroups and others.

        Empty where there is nothing of the kind. Raises `UsageError` for another name.
        """
        import pandas as pd

        from deepchest_cli.evaluation.output.tables import TABLES

        names = [one.removesuffix(".csv") for one in TABLES]
        if name not in names:
            raise unknown_name("table", name, names)
        return pd.DataFrame(TABLES[f"{name}.csv"](self._only.document))

    @property
    def differences(self) -> "pd.DataFrame":
        """The differences to `compare_to` by finding and metric; empty without it."""
        return self.table("differences")

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """A row for each image: identity, probabilities, labels and whether they are known."""
        from deepchest_cli.evaluation.output.predictions_table import predictions_table

        assert self._only._inputs is not None
        return predictions_table(self._only._inputs)

    def plot(self, name: str = "roc") -> "Figure":
        """Return a figure of the report: roc, precision-recall, reliability and others.

        Raises `UsageError` for another name, and where there is nothing to draw.
        """
        from deepchest_cli.evaluation.output.folder import FIGURES, report_figures

        if name not in FIGURES:
            raise unknown_name("plot", name, FIGURES)
        assert self._only._inputs is not None
        figures = report_figures(self.document, self._only._inputs)
        if name not in figures:
            raise UsageError(
                f"There is nothing to draw in the plot {name!r}.", f"Draw {', '.join(figures)}."
            )
        return drawn(figures[name])

    @property
    def _only(self) -> "Evaluation":
        if self.data_sets:
            raise UsageError(
                "Several data sets were evaluated: each has this of its own.",
                "Take one of `data_sets`.",
            )
        return self

    def _shown(self) -> "tuple[str, pd.DataFrame, Sequence[str], str]":
        from deepchest_cli.evaluation.output import statements

        table = self._rows
        table = table[[name for name in HEADLINE if name in table]]
        if self.data_sets:
            title = f"Evaluation on {len(self.data_sets)} data sets"
            return title, table, self.warnings, ""
        document = self.document
        split = document["split"]
        title = f"Evaluation on {TITLES.get(split, f'the {split} split')}"
        said = [statements.unit_rule(document), statements.overlap(document)]
        said += [statements.out_of_fold(document), statements.scope(document)]
        sentences = " ".join(filter(None, said))
        return f"{title}: {statements.counted(document)}", table, self.warnings, sentences


@takes_flags_of(EvaluateConfig)
def evaluate(
    model: AnyPath | Iterable[AnyPath] | None = None,
    data: AnyPath | Iterable[AnyPath] | None = None,
    *,
    progress: bool | Receive = False,
    **options: "Unpack[EvaluateOptions]",
) -> Evaluation:
    """Score models, or anybody's predictions, and return metrics with intervals.

    model: run folders, checkpoints or xrv/NAME; several are averaged. data: folders of prepared
    shards. progress: as of `train`. options: the flags of `deepchest evaluate`, in the form of
    keywords; report, out and save_predictions write the same files. Raises `UsageError` for what
    does not go together, and what `deepchest evaluate` reports as an error.

    >>> evaluation = evaluate("runs/latest", bootstrap_replicates=200)
    >>> evaluation.findings["auroc"]
    """
    named = with_given(options, model=model, data=data)
    report = recorder(progress)
    found = run_evaluation(configuration(EvaluateConfig, "evaluate", named), report)
    notes, warnings = tuple(report.notes), tuple(report.warnings)
    if len(found.inputs) == 1:
        return Evaluation(found.document, notes, warnings, (), found.inputs[0])
    pairs = zip(found.documents, found.inputs, strict=True)
    each = tuple(Evaluation(document, (), (), (), one) for document, one in pairs)
    return Evaluation(found.document, notes, warnings, each)

"""A run as an object: its tables, plots and model, while it is trained or long after."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config import DEFAULT_MODEL, RUN_CONFIG, TrainConfig
from deepchest_cli.config.sources import read_source
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.library.notebook import titled_table
from deepchest_cli.model.fold_runs import (
    OUT_OF_FOLD,
    RESULTS,
    finished_folds,
    fold_folders,
    folds_in,
)
from deepchest_cli.reporting.plots import drawn
from deepchest_cli.training.run_files import CHARTS, METRICS, SOURCE, WEIGHTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from deepchest_cli.library.evaluation import Evaluation
    from deepchest_cli.library.model import Model
    from deepchest_cli.library.operations.folds import FoldsSummary
    from deepchest_cli.training.plots import Columns
    from deepchest_cli.training.summary import TrainingSummary

TEXTS = ("Image Index", "Study", "split", "Sex", "View")  # columns of out-of-fold.csv
KINDS = {"epoch": int, "step": int, "best": bool}  # of columns; others are floating-point
HEADLINE = ("training_loss", "validation_loss", "validation_auroc", "best")  # of `history`


@dataclass(frozen=True)
class Run:
    """A training run in its folder; tables and plots are read from there when they are asked for.

    notes, warnings: what was said while it was trained by `train`; nothing of a run from disk.
    """

    folder: Path
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    summary: "TrainingSummary | FoldsSummary | None" = field(default=None, repr=False)  # of `train`

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings that the run began with, by the keywords of `train`."""
        return read_source("config", self.folder / RUN_CONFIG, TrainConfig)

    @property
    def folds(self) -> "tuple[Run, ...]":
        """The runs of the folds that have begun, in order; empty without `folds`."""
        folders = fold_folders(self.folder, folds_in(self.folder) or 0)
        return tuple(Run(folder) for folder in folders if (folder / RUN_CONFIG).is_file())

    @cached_property
    def out_of_fold(self) -> "pd.DataFrame":
        """A row for each image, scored by the model that has not seen its patient; with the fold.

        Raises `UsageError` for a run without folds, and before all of them are done.
        """
        folds = folds_in(self.folder)
        if folds is None:
            raise UsageError(f"{self.folder} has no folds.", "Train it with folds=5.")
        finished_folds(self.folder, folds)
        path = self.folder / OUT_OF_FOLD
        if not path.is_file():
            raise UsageError(
                f"{path} is missing.",
                f"Write it again with: train(resume={str(self.folder)!r})",
            )
        return _read_out_of_fold(path)

    @property
    def history(self) -> "pd.DataFrame":
        """A row for each epoch, with the metrics of metrics.csv; of several data sets, together.

        With folds, the rows of each, by fold and epoch.
        """
        from deepchest_cli.training.plots import read_columns

        if folds := self.folds:
            return _by_fold([run.history for run in folds])
        return _by_epoch(read_columns(self._there / METRICS))

    @property
    def sources(self) -> "pd.DataFrame":
        """The rows of `history`, and of several data sets those of each, by data set and epoch."""
        import pandas as pd

        from deepchest_cli.training.plots import read_sources

        if folds := self.folds:
            return _by_fold([run.sources for run in folds])
        tables = {
            name: _by_epoch(columns)
            for name, columns in read_sources(self._there / METRICS).items()
        }
        return pd.concat(tables, names=[SOURCE]) if len(tables) > 1 else self.history

    @property
    def weights(self) -> "pd.DataFrame":
        """The mean weight of each task in each epoch; empty where the weighter has none."""
        from deepchest_cli.training.plots import read_columns

        if folds := self.folds:
            return _by_fold([run.weights for run in folds])
        return _by_epoch(read_columns(self._there / WEIGHTS))

    @property
    def _there(self) -> Path:
        """The folder; raises `UsageError` where it is gone, which would read as no epoch yet."""
        if not self.folder.is_dir():
            raise UsageError(
                f"There is no folder {self.folder} any more, seen from {Path.cwd()}.",
                "Bring it back, or change to the working directory that it was trained in.",
            )
        return self.folder

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose model is kept, counted from 1; None before the first has ended.

        With folds each has its own: take one of `folds`.
        """
        if self.folds:
            return None
        table = self.history
        return int(table.index[table["best"]].max()) if len(table) else None

    @property
    def auroc(self) -> float:
        """The macro AUROC of the best epoch in validation; NaN before the first epoch has ended.

        With folds that of the out-of-fold predictions; NaN before all of them are done.
        """
        if self.folds:
            return _macro_auroc(self.folder / RESULTS)
        best = self.best_epoch
        return float("nan") if best is None else float(self.history["validation_auroc"][best])

    def model(self, **options: Any) -> "Model":
        """Return the model of the best epoch, or those of all folds as an ensemble.

        options are those of `load_model`.
        """
        from deepchest_cli.library.model import load_model

        return load_model(self.folder, **options)

    def evaluate(self, **options: Any) -> "Evaluation":
        """Evaluate the model of the best epoch; with folds, the out-of-fold predictions.

        options are those of `evaluate`; with folds and `data`, their models are an ensemble.
        """
        from deepchest_cli.library.evaluation import evaluate

        return evaluate(self.folder, **options)

    def plot(self, name: str = "metrics") -> "Figure":
        """Return the plot of metrics, weights or, of several data sets, sources over the epochs.

        Raises `UsageError` for another name, and where there is nothing to draw.
        """
        from deepchest_cli.training.plots import run_figures

        if name not in CHARTS:
            raise unknown_name("plot", name, CHARTS)
        if self.folds:
            raise UsageError(
                "Each fold has plots of its own.", "Plot one of `folds`: run.folds[0].plot()"
            )
        figures = run_figures(self.folder)
        if name not in figures:
            there = ", ".join(figures) or "none yet"
            raise UsageError(f"{self.folder} has no plot of {name}.", f"It has: {there}.")
        return drawn(figures[name])

    def __str__(self) -> str:
        return str(self.folder)

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        if self.folds:
            done = f"{len(self.folds)} of {self.config['folds']} folds begun"
            title = f"Run {self.folder}: {done}, out-of-fold AUROC {self.auroc:.4f}"
            rows = {number: run.auroc for number, run in enumerate(self.folds, 1)}
            return titled_table(title, _by_number(rows), self.warnings)
        best, which = self.best_epoch, "best"
        if self.config.get("keep", which) != which:
            which = "kept"
        said = "no epoch has ended"
        if best is not None:
            said = f"{which} epoch {best}, AUROC {self.auroc:.4f}"
        table = self.history
        return titled_table(
            f"Run {self.folder}: {said}",
            table[[name for name in HEADLINE if name in table]],
            self.warnings,
        )


def load_run(folder: str | PathLike[str] = DEFAULT_MODEL) -> Run:
    """Return the run in a folder, by default the newest below the working directory.

    Raises `UsageError` where none was begun.

    >>> run = load_run("runs/latest")
    >>> run.plot("metrics").savefig("metrics.png")
    """
    path = Path(fspath(folder))
    if not (path / RUN_CONFIG).is_file():
        raise UsageError(
            f"{path} is no folder of a run: {RUN_CONFIG} is missing.", "Check the path."
        )
    return Run(path.resolve() if path.is_symlink() else path)


def _by_fold(tables: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(tables, keys=range(1, len(tables) + 1), names=["fold"])


def _by_number(aurocs: dict[int, float]) -> "pd.DataFrame":
    import pandas as pd

    index = pd.Index(list(aurocs), name="fold")
    return pd.DataFrame({"validation_auroc": list(aurocs.values())}, index)


def _macro_auroc(results: Path) -> float:
    """Return the macro AUROC in a file of results; NaN where it is not there yet, or is damaged."""
    try:
        value = json.loads(results.read_text(encoding="utf-8"))["macro"]["auroc"]
    except (OSError, ValueError, KeyError, TypeError):
        return float("nan")
    return float("nan") if value is None else float(value)


def _by_epoch(columns: "Columns") -> "pd.DataFrame":
    """Return the columns of a table of a run, a row for each epoch; none before one has ended."""
    import pandas as pd

    if not columns:
        return pd.DataFrame(index=pd.Index([], dtype=int, name="epoch"))
    kinds = {name: kind for name, kind in KINDS.items() if name in columns}
    return pd.DataFrame(columns).astype(kinds).set_index("epoch")


def _read_out_of_fold(path: Path) -> "pd.DataFrame":
    """Return the table of out-of-fold predictions, with its numbers to the last bit."""
    import pandas as pd

    with path.open(newline="", encoding="utf-8") as file:
        table = pd.DataFrame(csv.DictReader(file))
    # not by pandas' reader, of which older versions round
    whole = ("Patient ID", "fold")
    kinds = {name: int if name in whole else float for name in table if name not in TEXTS}
    return table.replace(dict.fromkeys(kinds, ""), "nan").astype(kinds)

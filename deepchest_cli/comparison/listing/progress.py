"""How far a run has come, by its table of metrics."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from deepchest_cli.comparison.listing.entry import open_file, setting
from deepchest_cli.training.run_files import ALL, EACH, METRICS, SOURCE

AUROC = "validation_auroc"
COLUMNS = ("epoch", SOURCE, "step", "best", AUROC)


@dataclass(frozen=True)
class RunProgress:
    """What a run's table of metrics says; nothing before its first epoch has ended."""

    epochs: int = 0
    steps: int = 0
    best_epoch: int | None = None
    macro_auroc: float | None = None  # on the validation split, of the best epoch
    header: tuple[str, ...] = ()

    @property
    def findings(self) -> int:
        """How many there are; 0 before the first epoch has ended."""
        return sum(name.startswith(AUROC + EACH) for name in self.header)

    def is_finished(self, values: Mapping[str, Any]) -> bool:
        """Whether a run with a configuration has nothing left to train."""
        epochs, steps = setting(values, "epochs", int), setting(values, "max_steps", int)
        patience = setting(values, "patience", int) or 0
        if epochs is not None and self.epochs >= epochs:
            return True
        if steps is not None and self.steps >= steps:
            return True
        return self.epochs > 0 and 0 < patience <= self.epochs - (self.best_epoch or 0)


def read_progress(folder: Path) -> RunProgress:
    """Return the progress of the run in a folder.

    Raises `ValueError`, with what is wrong, for a table that is damaged or cannot be read.
    """
    try:
        with open_file(folder / METRICS) as file:
            header = next(csv.reader(file), [])
            last = max((header.index(name) for name in COLUMNS if name in header), default=0)
            return _progress(header, list(csv.reader(_cut(file, last + 1))))
    except FileNotFoundError:
        return RunProgress()
    except OSError as error:
        raise ValueError(f"{METRICS} cannot be read: {error.strerror}.") from error
    except (ValueError, IndexError, csv.Error) as error:
        problem = "a row lacks columns" if isinstance(error, IndexError) else error
        raise ValueError(f"{METRICS} is damaged: {problem}.") from error


def _cut(lines: Iterable[str], columns: int) -> Iterator[str]:
    """Yield lines of a table to a column: a thousand runs have millions of cells."""
    for line in lines:
        yield line if '"' in line else ",".join(line.rstrip().split(",", columns)[:columns])


def _progress(header: Sequence[str], rows: Sequence[Sequence[str]]) -> RunProgress:
    place = {name: header.index(name) for name in COLUMNS if name in header}
    lost = [name for name in COLUMNS if name not in (*place, SOURCE)]
    if lost:
        raise ValueError(f"it lacks {' and '.join(lost)}")
    source = place.get(SOURCE)  # 0.1 had one for all data sets together alone
    everything = [row for row in rows if source is None or row[source] == ALL]
    if not everything:
        raise ValueError("it has no epoch")
    best = [row[place["epoch"]] for row in everything if row[place["best"]] == "1"][-1:]
    of_best = [row for row in rows if row[place["epoch"]] in best]
    # of several data sets each has a row beside that of all: the best epoch has the highest mean
    members = [row for row in of_best if row not in everything] or of_best
    aurocs = [float(row[place[AUROC]] or "nan") for row in members]
    return RunProgress(
        epochs=int(everything[-1][place["epoch"]]),
        steps=int(everything[-1][place["step"]]),
        best_epoch=int(best[0]) if best else None,
        macro_auroc=_mean(aurocs),
        header=tuple(header),
    )


def _mean(values: Sequence[float]) -> float | None:
    """Return the mean of those that are defined; None where none is."""
    defined = [value for value in values if math.isfinite(value)]
    return fmean(defined) if defined else None

"""How far a run has come, by its table of metrics."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.comparison.listing.entry import setting
from deepchest_cli.training.run_files import ALL, EACH, METRICS, SOURCE

AUROC = "validation_auroc"


@dataclass(frozen=True)
class RunProgress:
    """What a run's table of metrics says; nothing before its first epoch has ended."""

    epochs: int = 0
    steps: int = 0
    best_epoch: int | None = None
    macro_auroc: float | None = None  # on the validation split, of the best epoch
    findings: int | None = None

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
        with (folder / METRICS).open(newline="", encoding="utf-8") as file:
            return _progress(list(csv.reader(file)))
    except FileNotFoundError:
        return RunProgress()
    except OSError as error:
        raise ValueError(f"{METRICS} cannot be read: {error.strerror}.") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise ValueError(f"{METRICS} is damaged: {error}.") from error


def _progress(rows: Sequence[Sequence[str]]) -> RunProgress:
    header = rows[0] if rows else ()
    place = {name: number for number, name in enumerate(header)}
    if not place.keys() >= {"epoch", "step", "best", AUROC}:
        raise ValueError("it lacks columns")
    source = place.get(SOURCE)
    everything = [row for row in rows[1:] if source is None or row[source] == ALL]
    if not everything:
        raise ValueError("it has no epoch")
    best = [row for row in everything if row[place["best"]] == "1"]
    auroc = float(best[-1][place[AUROC]] or "nan") if best else math.nan
    return RunProgress(
        epochs=int(everything[-1][place["epoch"]]),
        steps=int(everything[-1][place["step"]]),
        best_epoch=int(best[-1][place["epoch"]]) if best else None,
        macro_auroc=auroc if math.isfinite(auroc) else None,
        findings=sum(name.startswith(AUROC + EACH) for name in header),
    )

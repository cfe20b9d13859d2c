"""The folder of a run with a model for each fold of its patients, as its name and files say."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from deepchest_cli.config.flags import RUN_CONFIG
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.files import read_toml_file
from deepchest_cli.model.checkpoint_format import BEST

OUT_OF_FOLD, RESULTS = "out-of-fold.csv", "results.json"  # in the folder of the whole run
PREDICTIONS = "predictions.npz"  # in that of a fold, once its model is done
FOLD = "fold-"  # before the number of a fold, from 1


def folds_in(folder: Path) -> int | None:
    """Return how many folds the run in a folder has; None for a run of one model, or no run."""
    if not (folder / RUN_CONFIG).is_file() or (folder / BEST).is_file():
        return None
    try:
        values = config_of(folder)
    except DeepChestError:
        return None
    folds = values.get("folds")  # which a comparison of weighters has as well
    is_whole = "weighter" in values and "fold" not in values
    return folds if isinstance(folds, int) and is_whole else None


def config_of(folder: Path) -> dict[str, Any]:
    """Return the values in the configuration of a run, as it is: flags may have changed since."""
    return read_toml_file(folder / RUN_CONFIG, "configuration file")


def fold_folders(folder: Path, folds: int) -> list[Path]:
    """Return the folders of the folds of a run, in order."""
    return [folder / f"{FOLD}{number}" for number in range(1, folds + 1)]


def with_folds(models: Sequence[Path]) -> list[Path]:
    """Return models with the run of each fold instead of a run with folds.

    Raises `UsageError` where such a run has not ended.
    """
    found = []
    for model in models:
        folds = folds_in(model)
        found += [model] if folds is None else finished_folds(model, folds)
    return found


def finished_folds(folder: Path, folds: int) -> list[Path]:
    """Return the folders of the folds of a run; raises `UsageError` where one is not done."""
    folders = fold_folders(folder, folds)
    done = [path for path in folders if (path / PREDICTIONS).is_file()]
    if len(done) < folds:
        raise UsageError(
            f"{folder} has not ended: {len(done)} of its {folds} folds are done.",
            f"Go on with: deepchest train --resume {quote(str(folder))}",
        )
    lost = [path for path in folders if not (path / BEST).is_file()]
    if lost:
        raise UsageError(
            f"{lost[0] / BEST} is missing.",
            f"Remove the folder {lost[0]}, and train this fold again: "
            f"deepchest train --resume {quote(str(folder))}",
        )
    return folders


def refuse_folds(folder: Path, flag: str = "--model") -> None:
    """Raise `UsageError` for a run with folds, where one model is meant."""
    folds = folds_in(folder)
    if folds is not None:
        one = quote(str(folder / f"{FOLD}1"))
        raise UsageError(
            f"{folder} has {folds} models, one for each fold.",
            f"Name one of them, such as {flag} {one}.",
        )

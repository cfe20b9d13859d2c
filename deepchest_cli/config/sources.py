"""Where the values of a configuration come from, and what they may be, for commands and calls."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from deepchest_cli.config.files import find_recipe, read_run_config, read_toml
from deepchest_cli.config.flags import (
    AUTO,
    RUN_CONFIG,
    choices_of,
    code_in,
    flag_of,
    flags_of,
    range_of,
)
from deepchest_cli.config.training import TrainConfig
from deepchest_cli.errors import UsageError, unknown_name

# whose values win when several are given, weakest first, and which file or folder has them
SOURCES: dict[str, Callable[[Any], Path]] = {
    "run": lambda folder: folder,
    "recipe": find_recipe,
    "config": lambda file: file,
}
HASH = "_sha256"  # ends the name of a field that no flag sets: the hash of what another names


def read_source(source: str, path: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return a file's values; of a recipe, which is written for `train`, those of this command.

    source: a key of `SOURCES`.
    """
    if source == "run":
        saved = read_run_config(path, config_type)
        # code of one's own runs only where the user names it
        return {key: value for key, value in saved.items() if key not in code_in(saved)}
    if source != "recipe":
        return read_toml(path, config_type)
    names, values = {field.name for field in fields(config_type)}, read_toml(path, TrainConfig)
    if values.get("linear_probe") and "linear_probe" not in names:
        raise UsageError(
            f"The recipe {path} is of a linear probe, which train alone has.",
            "Choose another recipe, or write its other values into one of your own.",
        )
    return {key: value for key, value in values.items() if key in names}


def run_to_resume(resume: Path | None, out: Path | None) -> Path | None:
    """Return the folder whose values are the defaults of a run that is resumed, if any."""
    if resume != AUTO:
        return resume
    return out if out is not None and (out / RUN_CONFIG).is_file() else None


def recorded_hashes(values: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes in a configuration file, of what is still as the file says."""
    return {
        key: file[key]
        for key in file.keys() - values.keys()
        if (named := key.removesuffix(HASH)) in values and values[named] == file[named]
    }


def refuse_out_of_range(values: Mapping[str, Any], config_type: type[Any]) -> None:
    """Raise `UsageError` for a number or one of several words that its flag does not take."""
    for field, kind, flag in flags_of(config_type):
        value = values[field.name]
        if isinstance(value, tuple) and (choices := choices_of(kind)):
            for unknown in (one for one in value if one not in choices):
                error = unknown_name("value", unknown, choices)
                raise UsageError(f"{flag_of(field.name)}: {error.message}", error.hint)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{flag_of(field.name)} should be a finite number. Found {value}.")
        low, high = flag.minimum, flag.maximum
        if isinstance(value, int | float) and not (
            (low is None or value >= low) and (high is None or value <= high)
        ):
            raise UsageError(f"{flag_of(field.name)} should be {range_of(flag)}. Found {value}.")

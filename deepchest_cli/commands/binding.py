"""Turn a configuration dataclass into a Typer command: flags, file and presentation options."""

import inspect
import math
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer

from deepchest_cli.config import (
    AUTO,
    RUN_CONFIG,
    Flag,
    TrainConfig,
    flag_of,
    flags_of,
)
from deepchest_cli.config.files import find_recipe, read_run_config, read_toml
from deepchest_cli.config.flags import code_in
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal

Config = TypeVar("Config")
Loader = Callable[[typer.Context, Any], Any]

# whose values win when several are given, weakest first, and which file or folder has them
SOURCES: dict[str, Callable[[Any], Path]] = {
    "run": lambda folder: folder,
    "recipe": find_recipe,
    "config": lambda file: file,
}

HASH = "_sha256"  # ends the name of a field that no flag sets: the hash of what another names
KEYWORD = inspect.Parameter.KEYWORD_ONLY
PRESENTATION = (
    ("json", "Print exactly one JSON document."),
    ("quiet", "No progress and no notes; warnings and errors stay."),
    ("verbose", "Say more about what is done."),
    ("debug", "Show the traceback of an error."),
)


def bind(
    application: typer.Typer,
    name: str,
    config_type: type[Config],
    run: Callable[[Config, Terminal], None],
) -> None:
    """Register `run` as the command `name`, its flags following from `config_type`."""

    def shell(context: typer.Context, **values: Any) -> None:
        presentation = {key: values.pop(key) for key, _ in PRESENTATION}
        debug = presentation.pop("debug")  # also read by `main`, for errors from before this point
        values.pop("config")
        presentation["json"] |= values.get("format") == "json"
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
            if isinstance(value, float) and not math.isfinite(value):  # bounds let NaN pass
                raise UsageError(f"{flag_of(key)} should be a finite number. Found {value}.")
        terminal = Terminal(**presentation)
        if values.get("deterministic"):
            # cuBLAS reads this when it starts; worker processes inherit it
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        hashes = _recorded(values, context.meta.get("deepchest.values", {}).get("config", {}))
        with nullcontext() if debug else terminal.library_warnings():
            run(config_type(**values, **hashes), terminal)

    parameters = [inspect.Parameter("context", KEYWORD, annotation=typer.Context)]
    parameters += [
        _parameter(field.name, kind, flag, field.default, _loader(config_type, flag.values_from))
        for field, kind, flag in flags_of(config_type)
    ]
    parameters += _common_parameters(config_type)
    shell.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shell.__doc__ = _without_markup(run.__doc__ or "")
    application.command(name, no_args_is_help=False)(shell)


def _recorded(values: Mapping[str, Any], file: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes in a configuration file, of what is still as the file says."""
    return {
        key: file[key]
        for key in file.keys() - values.keys()
        if (named := key.removesuffix(HASH)) in values and values[named] == file[named]
    }


def _parameter(
    name: str, kind: Any, flag: Flag, default: Any, load: Loader | None
) -> inspect.Parameter:
    if get_origin(kind) is tuple:
        kind = list[str]
        default = default if default is MISSING else list(default)
    settings: dict[str, Any] = {
        "help": _without_markup(flag.help),
        "metavar": flag.metavar,
        "rich_help_panel": flag.panel,
        "min": flag.minimum,
        "max": flag.maximum,
    }
    if load is not None:
        settings |= {"callback": load, "is_eager": True}
    declaration: Any
    if flag.positional:
        declaration = typer.Argument(**settings)
    elif kind is bool and default is False:
        # what is off by default needs no --no- form
        declaration = typer.Option(flag_of(name), **settings)
    else:
        declaration = typer.Option(**settings)
    return inspect.Parameter(
        name,
        KEYWORD,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, declaration],
    )


def _without_markup(text: str) -> str:
    """Escape [brackets] in help, which Rich would drop as markup."""
    return text.replace("[", "\\[")


def _loader(config_type: type[Any], source: str | None) -> Loader | None:
    """Return the callback of a flag that names a file whose values become the defaults.

    source: a key of `SOURCES`; "out", a run's folder that --resume auto continues; None: no file.
    """
    if source is None:
        return None

    def load(context: typer.Context, given: Any) -> Any:
        named = context.meta.setdefault("deepchest.named", {})
        named[source] = given
        kind = "run" if source == "out" else source
        location = _run_to_resume(named) if kind == "run" else given
        if location is not None:
            found = context.meta.setdefault("deepchest.values", {})
            found[kind] = _read(kind, SOURCES[kind](location), config_type)
            # click reads the flags in the order given, which is not the order of precedence
            context.default_map = {
                key: value for name in SOURCES for key, value in found.get(name, {}).items()
            }
        return given

    return load


def _run_to_resume(named: dict[str, Any]) -> Path | None:
    """Return the folder whose values are the defaults, by the --resume and --out seen so far."""
    folder: Path | None = named.get("run")
    if folder != AUTO:
        return folder
    out: Path | None = named.get("out")
    return out if out is not None and (out / RUN_CONFIG).is_file() else None


def _read(source: str, path: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return a file's values; of a recipe, which is written for `train`, those of this command."""
    if source == "run":
        saved = read_run_config(path, config_type)
        # code of one's own runs only where the command line names it
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


def _common_parameters(config_type: type[Any]) -> list[inspect.Parameter]:
    file = Flag("TOML file of flags; the command line wins.")
    return [
        _parameter("config", Path | None, file, None, _loader(config_type, "config")),
        *(_parameter(name, bool, Flag(text), False, None) for name, text in PRESENTATION),
    ]

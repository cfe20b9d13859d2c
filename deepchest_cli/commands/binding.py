"""Turn a configuration dataclass into a Typer command: flags, file and presentation options."""

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from deepchest_cli.config import (
    AUTO,
    RUN_CONFIG,
    Flag,
    TrainConfig,
    find_recipe,
    flag_of,
    read_toml,
)
from deepchest_cli.config.renamed import refuse_version_0_1
from deepchest_cli.errors import UsageError
from deepchest_cli.terminal import Terminal

Config = TypeVar("Config")
Loader = Callable[[typer.Context, Any], Any]

# whose values win when several files are given, weakest first, and where each file is
SOURCES: dict[str, Callable[[Any], Path]] = {
    "run": lambda folder: folder / RUN_CONFIG,
    "recipe": find_recipe,
    "config": lambda file: file,
}

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

    def shell(**values: Any) -> None:
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
        with nullcontext() if debug else terminal.library_warnings():
            run(config_type(**values), terminal)

    parameters = [*_configuration_parameters(config_type), *_common_parameters(config_type)]
    shell.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shell.__doc__ = _without_markup(run.__doc__ or "")
    application.command(name, no_args_is_help=False)(shell)


def _configuration_parameters(config_type: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(config_type, include_extras=True)
    parameters = []
    for field in fields(config_type):
        kind, flag = get_args(hints[field.name])[:2]
        load = _loader(config_type, flag.values_from) if flag.values_from else None
        parameters.append(_parameter(field.name, kind, flag, field.default, load))
    return parameters


def _parameter(
    name: str, kind: Any, flag: Flag, default: Any, load: Loader | None
) -> inspect.Parameter:
    if get_origin(kind) is tuple:
        kind, default = list[str], [] if default == () else default
    bounds = {"min": flag.minimum, "max": flag.maximum}
    settings: dict[str, Any] = {
        "help": _without_markup(flag.help),
        "metavar": flag.metavar,
        "rich_help_panel": flag.panel,
        **bounds,
    }
    if load is not None:
        settings |= {"callback": load, "is_eager": True}
    declaration: Any
    if flag.positional:
        declaration = typer.Argument(**settings)
    elif kind is bool and default is False:
        # a switch that is off needs no --no- form
        declaration = typer.Option(flag_of(name), **settings)
    else:
        declaration = typer.Option(**settings)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if default is MISSING else default,
        annotation=Annotated[kind, declaration],
    )


def _without_markup(text: str) -> str:
    """Return help whose [brackets] Rich shows, where it would swallow them as markup."""
    return text.replace("[", "\\[")


def _loader(config_type: type[Any], source: str) -> Loader:
    """Return the callback of a flag that names a file whose values become the defaults."""

    def load(context: typer.Context, given: Any) -> Any:
        named = context.meta.setdefault("deepchest.named", {})
        named[source] = given
        kind = "run" if source == "out" else source
        place = _begun(named) if kind == "run" else given
        if place is not None:
            found = context.meta.setdefault("deepchest.values", {})
            found[kind] = _read(kind, SOURCES[kind](place), config_type)
            # click reads the flags in the order given, which is not the order of precedence
            context.default_map = {
                key: value for name in SOURCES for key, value in found.get(name, {}).items()
            }
        return given

    return load


def _begun(named: dict[str, Any]) -> Path | None:
    """Return the folder whose values are the defaults, by what --resume and --out name so far."""
    folder: Path | None = named.get("run")
    if folder != AUTO:
        return folder
    out: Path | None = named.get("out")
    return out if out is not None and (out / RUN_CONFIG).is_file() else None


def _read(source: str, path: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return a file's values; of a recipe, which is written for `train`, those that are wanted."""
    if source == "run":
        refuse_version_0_1(path.parent)
    if source != "recipe":
        return read_toml(path, config_type)
    wanted = {field.name for field in fields(config_type)}
    return {key: v for key, v in read_toml(path, TrainConfig).items() if key in wanted}


def _common_parameters(config_type: type[Any]) -> list[inspect.Parameter]:
    load = _loader(config_type, "config")
    file = Annotated[
        Path | None,
        typer.Option(
            help="TOML file of flags; the command line wins.", callback=load, is_eager=True
        ),
    ]
    switches = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(f"--{key}", help=text)],
        )
        for key, text in PRESENTATION
    ]
    return [
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=file),
        *switches,
    ]

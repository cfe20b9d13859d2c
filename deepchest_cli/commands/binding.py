"""Turn a configuration dataclass into a Typer command: flags, file and presentation options."""

import inspect
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import MISSING
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer

from deepchest_cli.commands.registry import COMMANDS
from deepchest_cli.config import Flag, flag_of, flags_of
from deepchest_cli.config.flags import help_of, metavar_of
from deepchest_cli.config.sources import (
    SOURCES,
    read_source,
    recorded_hashes,
    refuse_out_of_range,
    run_to_resume,
)
from deepchest_cli.errors import UsageError
from deepchest_cli.library.launchers import SRUN, TORCHRUN, find_launch
from deepchest_cli.terminal import Terminal

Config = TypeVar("Config")
Loader = Callable[[typer.Context, Any], Any]

KEYWORD = inspect.Parameter.KEYWORD_ONLY
PRESENTATION = (
    ("json", "Print exactly one JSON document."),
    ("quiet", "No progress and no notes; warnings and errors stay."),
    ("verbose", "Say more about what is done."),
    ("debug", "Show the traceback of an error."),
)
GENERAL = "General"  # heading of the flags that every command has


def _show_help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(context.get_help(), color=context.color)
        raise typer.Exit


HELP = typer.Option(
    "--help", "-h", metavar="", callback=_show_help, is_eager=True,
    help="Show this message and exit.", rich_help_panel=GENERAL,
)  # fmt: skip


def application(arguments: Sequence[str]) -> typer.Typer:
    """Return the Typer application for a command line.

    Only the command that it names has its flags; all have where a shell completes words.
    """
    built = typer.Typer(
        name="deepchest",
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    built.callback()(lambda: None)  # without it, the only one of several commands has no name
    first = next((one for one in arguments if not one.startswith("-")), None)
    for name, info in COMMANDS.items():
        if first in (name, None):
            run = info.run if info.in_any_process else in_one_process(name, info.run)
            bind(built, name, info.configuration, run)
    return built


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
        values.pop("help")
        presentation["json"] |= values.get("format") == "json"
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
        refuse_out_of_range(values, config_type)
        terminal = Terminal(**presentation)
        if values.get("deterministic"):
            # cuBLAS reads this when it starts; worker processes inherit it
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        hashes = recorded_hashes(values, context.meta.get("deepchest.values", {}).get("config", {}))
        with nullcontext() if debug else terminal.library_warnings():
            run(config_type(**values, **hashes), terminal)

    parameters = [inspect.Parameter("context", KEYWORD, annotation=typer.Context)]
    parameters += [
        _parameter(field.name, kind, flag, field.default, _loader(config_type, flag.values_from))
        for field, kind, flag in flags_of(config_type)
    ]
    parameters += _common_parameters(config_type)
    shell.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    shell.__doc__ = _without_markup(_with_examples(inspect.getdoc(run) or ""))
    application.command(name, no_args_is_help=False, add_help_option=False)(shell)


def _parameter(
    name: str, kind: Any, flag: Flag, default: Any, load: Loader | None
) -> inspect.Parameter:
    settings: dict[str, Any] = {
        "help": _without_markup(help_of(kind, flag, default)),
        "metavar": flag.metavar if flag.positional else metavar_of(kind, flag),
        "rich_help_panel": flag.panel,
        "show_default": False,  # the help has it, and goes on in the same line
    }
    if get_origin(kind) is tuple:
        kind = list[str]
        default = default if default is MISSING else list(default)
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


def _with_examples(doc: str) -> str:
    """Return a docstring whose examples stand below each other, as Typer keeps lines after \\b."""
    said, _, examples = doc.partition("Examples:")
    text = "".join(f"{' '.join(part.split())}\n\n" for part in said.split("\n\n") if part.strip())
    lines = "".join(f"\n  {line.strip()}" for line in examples.splitlines() if line.strip())
    return f"{text}\b\nExamples:{lines}" if lines else text


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
        location = run_to_resume(named.get("run"), named.get("out")) if kind == "run" else given
        if location is not None:
            found = context.meta.setdefault("deepchest.values", {})
            found[kind] = read_source(kind, SOURCES[kind](location), config_type)
            # click reads the flags in the order given, which is not the order of precedence
            context.default_map = {
                key: value for name in SOURCES for key, value in found.get(name, {}).items()
            }
        return given

    return load


def _common_parameters(config_type: type[Any]) -> list[inspect.Parameter]:
    file = Flag("TOML file of flags; the command line wins.", panel=GENERAL)
    return [
        _parameter("config", Path | None, file, None, _loader(config_type, "config")),
        *(
            _parameter(name, bool, Flag(text, panel=GENERAL), False, None)
            for name, text in PRESENTATION
        ),
        inspect.Parameter("help", KEYWORD, default=False, annotation=Annotated[bool, HELP]),
    ]


def in_one_process(
    command: str, run: Callable[[Any, Terminal], None]
) -> Callable[[Any, Terminal], None]:
    """Return a command that refuses to run where a launcher has started several processes.

    Each of them would do the whole work, and write into the same folder.
    """

    @wraps(run)
    def alone(config: Any, terminal: Terminal) -> None:
        launch = find_launch(os.environ)
        if launch is not None:
            raise UsageError(
                f"deepchest {command} runs in one process. Found process {launch.rank} of "
                f"{launch.world_size}, started by {launch.launcher}.",
                _one_process(command, launch.launcher),
            )
        run(config, terminal)

    return alone


def _one_process(command: str, launcher: str) -> str:
    """Return how to start a command in one process."""
    ways = {
        SRUN.name: f"Use srun --ntasks 1 deepchest {command} ..., or a job array for several runs",
        "mpirun": f"Start it without mpirun: deepchest {command} ...",
        TORCHRUN.name: f"Start it without torchrun: deepchest {command} ...",
    }
    way = ways.get(launcher, "Start it once, without RANK and WORLD_SIZE: unset RANK WORLD_SIZE")
    several = "; --devices cuda:0,cuda:1 spreads its runs over GPUs of one node"
    return f"{way}{several if command == 'compare-weighters' else ''}."

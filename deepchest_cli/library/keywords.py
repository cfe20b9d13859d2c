"""From the keywords of a call to the configuration that the same flags of a command give."""

import inspect
import os
import re
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from textwrap import fill
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from deepchest_cli.config.files import unknown_key
from deepchest_cli.config.flags import choices_of, flag_of, flags_of
from deepchest_cli.config.sources import (
    SOURCES,
    read_source,
    recorded_hashes,
    refuse_out_of_range,
    run_to_resume,
)
from deepchest_cli.errors import DeepChestError, UsageError, unknown_name

Config = TypeVar("Config")
Function = TypeVar("Function", bound=Callable[..., Any])
AnyPath = str | os.PathLike[str]

ARGUMENTS = {  # of each function, which its signature names
    "train": ("data",),
    "evaluate": ("model", "data"),
    "compare": ("weighters", "data"),
    "predict": ("images", "model"),
    "prepare": ("source", "data"),
}
# what has another result than the function, or says how it is printed, is the command's alone
COMMAND_ONLY = {
    "train": (),
    "evaluate": ("format", "fail_under"),
    "compare": (
        "plan", "job", "report", "cost_only", "cost_tasks", "cost_backbones", "fail_if_inferior",
    ),
    "predict": ("format", "top", "null"),
    "prepare": ("plan", "job", "jobs", "check", "dry_run"),
}  # fmt: skip
FILE = "config"  # the keyword of --config, which every command has


def takes_flags_of(kind: type[Any]) -> Callable[[Function], Function]:
    """Let a function take the flags of a command, which its signature and its errors name."""

    def named(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind != one.VAR_KEYWORD]
        left_out = (*signature.parameters, *COMMAND_ONLY[function.__name__])
        flags = [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            for field, _, _ in flags_of(kind)
            if field.name not in left_out
        ]
        flags.append(inspect.Parameter(FILE, inspect.Parameter.KEYWORD_ONLY, default=None))
        signature = signature.replace(parameters=[*own, *flags])
        switches = {f.name for f, _, _ in flags_of(kind) if isinstance(f.default, bool)}

        @wraps(function)
        def called(*given: Any, **keywords: Any) -> Any:
            try:
                return function(*given, **keywords)
            except DeepChestError as error:
                texts = (error.message, error.hint)
                error.reword(*(_in_keywords(t, signature.parameters, switches) for t in texts))
                raise

        called.__signature__ = signature  # type: ignore[attr-defined]
        if function.__doc__:
            helps = {f.name: flag.help for f, _, flag in flags_of(kind) if f.name not in left_out}
            called.__doc__ = (
                f"{inspect.cleandoc(function.__doc__)}\n\n{_described(helps, switches)}"
            )
        return cast(Function, called)

    return named


def _in_keywords(text: str, names: Container[str], switches: Container[str]) -> str:
    """Return what a command says with keywords for its flags; commands to paste stay."""

    def keyword(found: re.Match[str]) -> str:
        name = (found[2] or "").replace("-", "_")
        if name not in names:
            return found[0]
        return f"{name}=True" if name in switches else name

    return re.sub(r"(deepchest [a-z](?:[^(),;.]|[,.](?=\S))*)|--([a-z][a-z-]*)", keyword, text)


def _described(helps: Mapping[str, str], switches: Container[str]) -> str:
    """Return the options as a list for a docstring, in which flags have the form of keywords."""
    texts = {
        name: _in_keywords(text, helps, switches).replace("may be repeated", "or a list")
        for name, text in helps.items()
    }
    texts[FILE] = "TOML file with values for these options."
    lines = [
        fill(f"{name}: {text}", 96, initial_indent="    ", subsequent_indent="        ")
        for name, text in texts.items()
    ]
    return "\n".join(["Options:", *lines])


def configuration(kind: type[Config], function: str, keywords: Mapping[str, Any]) -> Config:
    """Return the configuration of a call, its values over a file's, a recipe's and the defaults.

    A value may be given where several are possible, a path as text, and KEY=VALUE as a dictionary.
    Raises `UsageError` for a keyword that there is not, and for a value that its flag refuses.
    """
    hints = get_type_hints(kind, include_extras=True)
    types = {n: get_args(hint)[0] for n, hint in hints.items() if get_origin(hint) is Annotated}
    types = {name: kind for name, kind in types.items() if name not in COMMAND_ONLY[function]}
    for name in keywords:
        if name in COMMAND_ONLY[function]:
            raise UsageError(f"{name} is of the command alone.", f"Use {flag_of(name)} there.")
        if name not in types and name != FILE:
            raise unknown_key(f"keyword of {function}", name, [*types, FILE])
    given = {
        name: _typed(value, types[name], f"{function}: {name}")
        for name, value in keywords.items()
        if name != FILE
    }
    for name in ARGUMENTS[function]:  # no default in place of a search that has found nothing
        if name in ("data", "model") and given.get(name) == ():
            raise UsageError(f"{function}: {name} is empty.", "Name a folder, or leave it out.")
    file = _typed(keywords.get(FILE), Path | None, f"{function}: {FILE}")
    files = _files_of(kind, given, file)
    values = {name: value for one in files.values() for name, value in one.items()}
    values = {n: _typed(value, types[n], n) for n, value in values.items() if n in types} | given
    made = kind(**values, **recorded_hashes(values, files.get(FILE, {})))
    refuse_out_of_range(vars(made), kind)
    return made


def with_given(options: Mapping[str, Any], **named: Any) -> dict[str, Any]:
    """Return the options with those that a function names itself, where they were given."""
    return {**options, **{name: value for name, value in named.items() if value is not None}}


def _files_of(
    kind: type[Any], given: Mapping[str, Any], file: Path | None
) -> dict[str, dict[str, Any]]:
    """Return the values of a run that is resumed, of a recipe and of a file, the weakest first."""
    named = {
        "run": run_to_resume(given.get("resume"), given.get("out")),
        "recipe": given.get("recipe"),
        FILE: file,
    }
    return {
        source: read_source(source, find(named[source]), kind)
        for source, find in SOURCES.items()
        if named[source] is not None
    }


def _typed(value: Any, kind: Any, where: str) -> Any:
    """Return a value in the form that a configuration has; `UsageError` for another type."""
    if get_origin(kind) is tuple:
        return _several(value, where)
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        value = str(value)
    if choices := choices_of(kind):
        if isinstance(value, str) and value in choices:
            return choices[choices.index(value)]  # the text alone, of an enumeration's member too
        if value is None and type(None) in get_args(kind):
            return None
        unknown = unknown_name("value", str(value), choices)
        raise UsageError(f"{where}: {unknown.message}", unknown.hint)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        if _is_a(one, value):
            with suppress(TypeError, ValueError, OverflowError):  # an array of several, for one
                return None if value is None else _text(value) if one is str else one(value)
    if str in kinds and not isinstance(value, bytes) and not _is_a(bool, value):
        try:  # what a command takes as text
            several = list(value)
        except TypeError:
            several = [value]
        if all(isinstance(one, str) or _is_a(float, one) for one in several):
            return ",".join(map(str, several))
    wanted = " or ".join(one.__name__ for one in kinds if one is not type(None))
    raise UsageError(f"{where} should be of type {wanted}. Found {value!r}.")


def _is_a(kind: type, value: Any) -> bool:
    """Whether a value stands for one of a kind; NumPy's numbers are numbers too."""
    if kind in (str, Path):
        return isinstance(value, str | os.PathLike)
    if kind is bool:
        return isinstance(value, bool) or (
            type(value).__name__ in ("bool", "bool_") and hasattr(value, "dtype")
        )
    if kind is type(None):
        return value is None
    return not (_is_a(bool, value) or isinstance(value, str)) and hasattr(
        value, "__index__" if kind is int else "__float__"
    )


def _text(value: str | os.PathLike[str]) -> str:
    """Return text as Python's own type: a checkpoint keeps no other, such as NumPy's."""
    return str.__str__(os.fspath(value))


def _several(value: Any, where: str) -> tuple[str, ...]:
    """Return what may be given several times: one of them, some, or KEY=VALUE as a dictionary."""
    if value is None:
        return ()
    if isinstance(value, str | os.PathLike):
        return (_text(value),)
    if isinstance(value, Mapping):
        return tuple(f"{name}={entry}" for name, entry in value.items())
    try:
        entries = list(value)
    except TypeError:
        entries = [value]
    if not all(isinstance(one, str | os.PathLike) for one in entries):
        raise UsageError(f"{where} should be text or a list of texts. Found {value!r}.")
    return tuple(map(_text, entries))

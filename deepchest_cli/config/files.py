"""Configuration files and recipes: TOML with a command's flags as keys."""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from deepchest_cli import __version__
from deepchest_cli.config.flags import RUN_CONFIG, RUN_ENVIRONMENT, choices_of, flag_of
from deepchest_cli.config.renamed import NOTES, SINCE, renamed
from deepchest_cli.config.synonyms import FLAGS, synonym
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.files import read_toml_file

RECIPES = ("quick", "default", "paper", "transformer", "probe")


def read_toml(path: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return the values of a configuration file by field name; unknown keys are errors."""
    document = read_toml_file(path, "configuration file")
    types = get_type_hints(config_type, include_extras=True)
    known = {field.name: types[field.name] for field in fields(config_type)}
    values = {}
    for spelled, value in document.items():
        key = spelled.replace("-", "_")
        if key not in known:
            raise unknown_key("key", key, known, f"{path}: ")
        if key in values:  # TOML itself refuses the same spelling
            raise UsageError(f"{path}: key {key!r} is given twice.", "Drop one of the two.")
        values[key] = _checked(value, types[key], f"{path}: key {key!r}")
    return values


def read_run_config(folder: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return the values of the configuration in the folder of a run or a comparison.

    Raises `UsageError` for a folder of version 0.1.
    """
    try:
        environment = json.loads((folder / RUN_ENVIRONMENT).read_text(encoding="utf-8"))
        version = environment["deepchest"]
    except (OSError, ValueError, KeyError, TypeError):  # without it, unknown keys are errors
        version = None
    refuse_old_state(folder, version)
    return read_toml(folder / RUN_CONFIG, config_type)


def refuse_old_state(folder: Path, version: object) -> None:
    """Raise `UsageError` for a run or a comparison that version 0.1 has begun."""
    if str(version).startswith("0.1."):
        raise UsageError(
            f"{folder} was started by deepchest {version}, whose settings and state have other "
            f"names than those of {__version__}.",
            "Resume it with deepchest 0.1, or start a new one in another folder; its models "
            "(best.pt) still predict and evaluate.",
        )


def unknown_key(kind: str, key: str, known: Iterable[str], where: str = "") -> UsageError:
    """Return the error for a key that no flag has, with the one that is meant.

    kind: what a key is called; where: the file that has it.
    """
    flags = {flag_of(name): name for name in known}
    if new := renamed(flag_of(key), flags):
        hint = NOTES.get(flag_of(key), f"Write {flags[new]}.")
        called = f"{kind} {key!r} is called {flags[new]!r} {SINCE}."
        return UsageError(f"{where}{called}" if where else called.capitalize(), hint)
    meant = synonym(key, flags, FLAGS)
    if meant is None:
        unknown = unknown_name(kind, key, flags.values())
        return UsageError(f"{where}{unknown.message}", unknown.hint)
    flag, _, value = meant.partition(" ")
    line = f'{flags[flag]} = "{value}"' if value else flags[flag]
    known_keys = f"Known: {', '.join(flags.values())}."
    return UsageError(f"{where}Unknown {kind} {key!r}. Did you mean {line!r}?", known_keys)


def _checked(value: Any, annotation: Any, where: str) -> Any:
    """Return a file's value in the form the command line takes; wrong types are errors."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(kind) is tuple:
        if isinstance(value, dict):
            return [f"{name}={entry}" for name, entry in value.items()]
        if isinstance(value, str):
            return [value]
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return value
        raise UsageError(f"{where} should be a list of strings. Found {value!r}.")
    if isinstance(value, bool) != (kind is bool) or isinstance(value, (list, dict)):
        raise UsageError(f"{where} should be of type {_readable(kind)}. Found {value!r}.")
    choices = choices_of(kind)
    if choices and value not in choices:
        unknown = unknown_name("value", str(value), choices)
        raise UsageError(f"{where}: {unknown.message}", unknown.hint)
    return value


def _readable(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def to_toml(config: Any) -> str:
    """Return a configuration as TOML that `read_toml` takes back; unset values are left out."""
    lines = []
    for field in fields(config):
        value = getattr(config, field.name)
        if value is not None:
            plain = str(value) if isinstance(value, Path) else value
            # JSON's strings, numbers, booleans and lists of strings are TOML as well
            lines.append(f"{field.name} = {json.dumps(plain, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: one of ours, or a path that ends in .toml.

    Raises `UsageError` for a name that is neither.
    """
    if name in RECIPES:
        return Path(__file__).parent.parent / "recipes" / f"{name}.toml"
    if name.endswith(".toml"):
        return Path(name)
    raise unknown_name("recipe", name, [*RECIPES, "PATH.toml"])

"""Checks of a command line before Typer parses it.

Typer silently takes the last of several values, and suggests flags and values by their spelling
alone. Its parser has no hook for better answers, so the arguments are checked beforehand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from deepchest_cli.commands.binding import PRESENTATION
from deepchest_cli.commands.registry import CommandInfo
from deepchest_cli.config import choices_of, flag_of, flags_of
from deepchest_cli.config.renamed import NOTES, SINCE, renamed
from deepchest_cli.config.synonyms import FLAGS, nearest, synonym
from deepchest_cli.errors import UsageError, unknown_name

GLOBAL = ("--version", "--help", "-h", "--install-completion", "--show-completion")
POSITIONAL = "IMAGE"  # the key of arguments without a flag
END = "--"  # of flags


@dataclass(frozen=True)
class Form:
    """How a flag is given."""

    field: str
    takes_value: bool = False
    repeatable: bool = False
    choices: tuple[str, ...] = ()


Commands = Mapping[str, CommandInfo]


def check_arguments(arguments: Sequence[str], commands: Commands) -> None:
    """Raise `UsageError` for an unknown command, flag or choice, and for flags that contradict."""
    if not arguments or arguments[0] in (*GLOBAL, END):
        return
    command, *rest = arguments
    if command.startswith("-"):
        flag = command.partition("=")[0]
        raise UsageError(
            f"{flag} stands before the command.",
            f"Flags follow it: deepchest COMMAND {flag}; deepchest --help lists the commands.",
        )
    if command not in commands:
        raise unknown_name("command", command, commands)
    forms = forms_of(commands[command].configuration)
    given: dict[str, tuple[str, str]] = {}
    for flag, value in _flags_in(rest, forms):
        if flag not in forms:
            raise _unknown_flag(command, flag, commands)
        form = forms[flag]
        if form.choices and value not in form.choices:
            raise unknown_name(f"value of {flag}:", value, form.choices)
        first = given.setdefault(form.field, (flag, value))
        if not form.repeatable and first[1] != value:
            raise _contradiction(first, (flag, value), form)
    _refuse_two_forms(given, forms)


def _flags_in(arguments: Sequence[str], forms: Mapping[str, Form]) -> Iterator[tuple[str, str]]:
    """Yield each flag with its value; that of a flag without one is the flag itself."""
    rest = iter(arguments)
    for argument in rest:
        if argument == END:
            return
        if not argument.startswith("-") or argument == "-":  # that is standard input
            continue
        flag, equals, value = argument.partition("=")
        if flag in forms and forms[flag].takes_value:
            following = value if equals else next(rest, None)
            if following is None:  # Typer reports it
                return
            # Typer would take a flag for the value
            if not equals and following.startswith("-") and following in forms:
                raise UsageError(
                    f"{flag} has no value: {following} follows it.",
                    f"Write {flag}={following} where that is the value.",
                )
            yield flag, following
        else:
            yield flag, flag


def _contradiction(first: tuple[str, str], second: tuple[str, str], form: Form) -> UsageError:
    if not form.takes_value:
        return UsageError(f"{first[0]} and {second[0]} are both given.", "Drop one of the two.")
    return UsageError(
        f"{second[0]} is given twice: {first[1]!r} and {second[1]!r}.",
        "It takes one value: drop one of the two.",
    )


def _refuse_two_forms(given: Mapping[str, tuple[str, str]], forms: Mapping[str, Form]) -> None:
    """Raise for --json beside a --format that is another one."""
    form = given.get("format", ("", "json"))[1]
    if "json" in given and form != "json" and "json" in forms["--format"].choices:
        raise UsageError(f"--json and --format {form} are both given.", "Drop one of the two.")


def forms_of(config: type[Any]) -> dict[str, Form]:
    """Return the forms of a command's flags by how they are written."""
    forms = {}
    for field, kind, flag in flags_of(config):
        if flag.positional:
            forms[POSITIONAL] = Form(field.name)
        elif kind is bool:
            forms[flag_of(field.name)] = Form(field.name)
            if field.default is True:
                forms[flag_of(f"no_{field.name}")] = Form(field.name)
        else:
            forms[flag_of(field.name)] = Form(
                field.name, True, get_origin(kind) is tuple, choices_of(kind)
            )
    switches = {f"--{name}": Form(name) for name, _ in PRESENTATION}
    help_flags = {name: Form(name) for name in ("--help", "-h")}
    return {**forms, "--config": Form("config", True), **switches, **help_flags}


def _unknown_flag(command: str, flag: str, commands: Commands) -> UsageError:
    """Return the error with a suggestion: a new name, a synonym, another command's, a spelling."""
    known = forms_of(commands[command].configuration)
    if new := renamed(flag, known):
        return UsageError(f"{flag} is called {new} {SINCE}.", NOTES.get(flag, f"Write {new}."))
    meant, other = synonym(flag, known, FLAGS), ""
    if meant is None:
        found = {
            name: synonym(flag, forms_of(commands[name].configuration), FLAGS) for name in commands
        }
        elsewhere = {name: theirs for name, theirs in found.items() if theirs}
        if flag not in elsewhere.values():
            meant = nearest(flag, known)
        if meant is None and elsewhere:
            theirs = next(iter(elsewhere.values()))
            names = [name for name, other_flag in elsewhere.items() if other_flag == theirs]
            other = f" {theirs} is a flag of {' and '.join(names)}."
    return UsageError(
        f"Unknown flag {flag!r} of {command}.{f' Did you mean {meant!r}?' if meant else other}",
        f"deepchest {command} --help lists its flags.",
    )

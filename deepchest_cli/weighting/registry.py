"""Weighters from names and options given as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.config.flags import names_code
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.catalog import WEIGHTERS, WeighterInfo, refuse_incompatible
from deepchest_cli.weighting.own import COMPOSITE, load_own, own_weighter, short_name

if TYPE_CHECKING:  # names and options are checked without torch
    from deepchest_cli.weighting.base import Context, Weighter

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
DEEPCHEST_OPTION = "deepchest."  # begins DeepChest's own options in a composite


def build_weighter(
    name: str,
    tasks: Sequence[str],
    options: Mapping[str, object] | Iterable[tuple[str, object]] = (),
    context: "Context | None" = None,
    expected_sha256: str | None = None,
) -> "Weighter":
    """Return a weighter for `tasks`; its options are values, or text as on the command line.

    `deepchest weighters NAME` lists the options of each. context: prevalence, planned epochs and
    seed, which some weighters need.

    `deepchest+NAME` is DeepChest above another method; options that begin with `deepchest.` are
    then DeepChest's. A name FILE.py:CLASS or PACKAGE.MODULE:CLASS runs that code, which should
    have the SHA-256 where one is expected. Raises `UsageError` for an unknown name or option, for
    a value of the wrong type, and for combinations that make no sense.
    """
    from deepchest_cli.weighting.base import Context
    from deepchest_cli.weighting.composite import build_composite
    from deepchest_cli.weighting.deepchest import DeepChestWeighter

    context = context or Context()
    pairs = options.items() if isinstance(options, Mapping) else options
    texts = [(key, _as_text(value)) for key, value in pairs]
    built = {
        each: find_weighter(each).build(tasks, context, values)
        for each, values in read_weighter(name, texts, expected_sha256).items()
    }
    other = name.removeprefix(COMPOSITE)
    if other == name:
        return built[name]
    deepchest = built["deepchest"]
    assert isinstance(deepchest, DeepChestWeighter)
    return build_composite(deepchest, other, built[other])


def _as_text(value: object) -> str:
    """Return the value of an option as on the command line; a dictionary as `KEY:VALUE,...`."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{entry}" for key, entry in value.items())
    return str(value)


def find_weighter(name: str) -> WeighterInfo:
    """Return the description of a weighter, built-in or one's own; raises `UsageError`."""
    if names_code(name):
        return own_weighter(name)
    if name in WEIGHTERS:
        return WEIGHTERS[name]
    error = unknown_name("weighter", name, WEIGHTERS)
    if name.endswith(".py"):
        raise UsageError(error.message, f"A file's class is named too: {name}:CLASS")
    raise error


def read_weighter(
    name: str,
    options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    expected_sha256: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the values of the options by the names of the weighters that `name` is made of.

    A file that has changed since this process ran it is run again, unless the former version is
    the expected one. Raises `UsageError` as `build_weighter` does, for all that names, options and
    types tell.
    """
    given = dict(options)
    if names_code(name):
        load_own(name.removeprefix(COMPOSITE), expected_sha256)
    if not name.startswith(COMPOSITE):
        return {name: _values(name, given)}
    marks = len(DEEPCHEST_OPTION)
    own = {key[marks:]: text for key, text in given.items() if key.startswith(DEEPCHEST_OPTION)}
    rest = {key: text for key, text in given.items() if not key.startswith(DEEPCHEST_OPTION)}
    other = name.removeprefix(COMPOSITE)
    refuse_incompatible(other)
    return {"deepchest": _values("deepchest", own), other: _values(other, rest)}


def _values(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    defaults, short = find_weighter(name).options, short_name(name)
    for key in options:
        if key not in defaults:
            if not defaults:
                raise UsageError(f"The weighter {short!r} has no options. Found {key!r}.")
            raise unknown_name(f"option of the weighter {short!r}:", key, defaults)
    return {key: _parse(key, text, defaults[key]) for key, text in options.items()}


def _parse(key: str, text: str, default: Any) -> Any:
    # bool("false") is True: words need a table
    read = BOOLEANS.__getitem__ if isinstance(default, bool) else type(default)
    try:
        return read(text.lower() if isinstance(default, bool) else text)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"Option {key!r} should be of type {type(default).__name__}. Found {text!r}."
        ) from error

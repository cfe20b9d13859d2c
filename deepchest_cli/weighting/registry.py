"""Weighters from names and options in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.catalog import WEIGHTERS

if TYPE_CHECKING:  # names and options are checked without torch
    from deepchest_cli.weighting.base import Context, Weighter

SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
ABOVE, OWN = "deepchest+", "deepchest."  # DeepChest above another method, and its own options


def build_weighter(
    name: str,
    tasks: Sequence[str],
    options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    context: "Context | None" = None,
) -> "Weighter":
    """Return a weighter for `tasks`, its options given as text.

    `deepchest+NAME` is DeepChest above another method; options that begin with `deepchest.` are
    then DeepChest's. Raises `UsageError` for an unknown name or option, for a value of the wrong
    type, and for what does not go together.
    """
    from deepchest_cli.weighting.base import Context
    from deepchest_cli.weighting.composite import build_composite
    from deepchest_cli.weighting.deepchest import DeepChestWeighter

    context = context or Context()
    built = {
        part: WEIGHTERS[part].build(tasks, context, values)
        for part, values in read_weighter(name, options).items()
    }
    below = name.removeprefix(ABOVE)
    if below == name:
        return built[name]
    deepchest = built["deepchest"]
    assert isinstance(deepchest, DeepChestWeighter)
    return build_composite(deepchest, below, built[below])


def read_weighter(
    name: str, options: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> dict[str, dict[str, Any]]:
    """Return the values of the options by the names of the weighters that `name` is made of.

    Raises `UsageError` as `build_weighter` does, for all that names, options and types tell.
    """
    given = dict(options)
    if not name.startswith(ABOVE):
        return {name: _values(name, given)}
    own = {k.removeprefix(OWN): v for k, v in given.items() if k.startswith(OWN)}
    rest = {k: v for k, v in given.items() if not k.startswith(OWN)}
    below = name.removeprefix(ABOVE)
    return {"deepchest": _values("deepchest", own), below: _values(below, rest)}


def _values(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    if name not in WEIGHTERS:
        raise unknown_name("weighter", name, WEIGHTERS)
    defaults = WEIGHTERS[name].options
    values = {}
    for key, text in options.items():
        if key not in defaults:
            raise _unknown_option(name, key, defaults)
        values[key] = _parse(key, text, defaults[key])
    return values


def _unknown_option(name: str, key: str, defaults: Mapping[str, Any]) -> UsageError:
    if not defaults:
        return UsageError(f"The weighter {name!r} has no options. Found {key!r}.")
    return unknown_name(f"option of the weighter {name!r}:", key, defaults)


def _parse(key: str, text: str, default: Any) -> Any:
    # bool("false") is True: words need a table
    read = SWITCH.__getitem__ if isinstance(default, bool) else type(default)
    try:
        return read(text.lower() if isinstance(default, bool) else text)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"Option {key!r} should be of type {type(default).__name__}. Found {text!r}."
        ) from error

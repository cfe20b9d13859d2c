"""Weighters from names and options given as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.catalog import WEIGHTERS

if TYPE_CHECKING:  # names and options are checked without torch
    from deepchest_cli.weighting.base import Context, Weighter

BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
COMPOSITE = "deepchest+"  # DeepChest's weights on the losses of another method
DEEPCHEST_OPTION = "deepchest."  # begins DeepChest's own options in a composite


def build_weighter(
    name: str,
    tasks: Sequence[str],
    options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    context: "Context | None" = None,
) -> "Weighter":
    """Return a weighter for `tasks`, its options given as text.

    `deepchest+NAME` is DeepChest above another method; options that begin with `deepchest.` are
    then DeepChest's. Raises `UsageError` for an unknown name or option, for a value of the wrong
    type, and for combinations that make no sense.
    """
    from deepchest_cli.weighting.base import Context
    from deepchest_cli.weighting.composite import build_composite
    from deepchest_cli.weighting.deepchest import DeepChestWeighter

    context = context or Context()
    built = {
        each: WEIGHTERS[each].build(tasks, context, values)
        for each, values in read_weighter(name, options).items()
    }
    other = name.removeprefix(COMPOSITE)
    if other == name:
        return built[name]
    deepchest = built["deepchest"]
    assert isinstance(deepchest, DeepChestWeighter)
    return build_composite(deepchest, other, built[other])


def read_weighter(
    name: str, options: Mapping[str, str] | Iterable[tuple[str, str]] = ()
) -> dict[str, dict[str, Any]]:
    """Return the values of the options by the names of the weighters that `name` is made of.

    Raises `UsageError` as `build_weighter` does, for all that names, options and types tell.
    """
    given = dict(options)
    if not name.startswith(COMPOSITE):
        return {name: _values(name, given)}
    marks = len(DEEPCHEST_OPTION)
    own = {key[marks:]: text for key, text in given.items() if key.startswith(DEEPCHEST_OPTION)}
    rest = {key: text for key, text in given.items() if not key.startswith(DEEPCHEST_OPTION)}
    other = name.removeprefix(COMPOSITE)
    return {"deepchest": _values("deepchest", own), other: _values(other, rest)}


def _values(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    if name not in WEIGHTERS:
        raise unknown_name("weighter", name, WEIGHTERS)
    defaults = WEIGHTERS[name].options
    for key in options:
        if key not in defaults:
            if not defaults:
                raise UsageError(f"The weighter {name!r} has no options. Found {key!r}.")
            raise unknown_name(f"option of the weighter {name!r}:", key, defaults)
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

"""Every weighter by name: help, completion, documentation and comparison read this table."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import Context, LossWeighter
from deepchest_cli.weighting.deepchest import DeepChestWeighter
from deepchest_cli.weighting.equal import EqualWeighter

SWITCH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
ONE_PASS = "1 forward, 1 backward"
GIVEN = ("tasks", "context")  # by the run, not by the user


@dataclass(frozen=True)
class WeighterInfo:
    """What a user wants to know before choosing a weighter."""

    name: str
    factory: Callable[..., LossWeighter]
    summary: str
    paper: str
    kind: str = "loss"  # loss: needs the losses only; gradient: needs task gradients
    passes: str = ONE_PASS  # forward and backward passes of a step
    memory: str = "none"  # beyond that of equal weighting

    @property
    def options(self) -> Mapping[str, Any]:
        """The parameters that --weighter-option sets, with their defaults."""
        parameters = inspect.signature(self.factory).parameters.values()
        return {entry.name: entry.default for entry in parameters if entry.name not in GIVEN}

    def build(self, tasks: Sequence[str], context: Context, values: Mapping[str, Any]) -> Any:
        """Return the weighter; a factory that has a parameter `context` is given it."""
        if "context" in inspect.signature(self.factory).parameters:
            return self.factory(tasks, **values, context=context)
        return self.factory(tasks, **values)


WEIGHTERS: dict[str, WeighterInfo] = {
    info.name: info
    for info in (
        WeighterInfo(
            name="equal",
            factory=EqualWeighter,
            summary="the plain sum of the task losses",
            paper="baseline",
        ),
        WeighterInfo(
            name="deepchest",
            factory=DeepChestWeighter,
            summary="raises tasks below the mean training accuracy, lowers the others",
            memory="one number a task",
            paper="Mohamed et al. 2025, arXiv 2505.23595",
        ),
    )
}


def build_weighter(
    name: str,
    tasks: Sequence[str],
    options: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    context: Context | None = None,
) -> LossWeighter:
    """Return a weighter for `tasks`, its options given as text.

    Raises `UsageError` for an unknown name or option and for a value of the wrong type.
    """
    if name not in WEIGHTERS:
        raise unknown_name("weighter", name, WEIGHTERS)
    defaults = WEIGHTERS[name].options
    values = {}
    for key, text in dict(options).items():
        if key not in defaults:
            raise _unknown_option(name, key, defaults)
        values[key] = _parse(key, text, defaults[key])
    weighter: LossWeighter = WEIGHTERS[name].build(tasks, context or Context(), values)
    return weighter


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

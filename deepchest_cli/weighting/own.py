"""A weighter of one's own: a class in a file, FILE.py:CLASS, or in PACKAGE.MODULE:CLASS."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepchest_cli.config.flags import names_code
from deepchest_cli.errors import UsageError
from deepchest_cli.own_code import Code, CodeKind, LoadedCode, describe, load, loaded
from deepchest_cli.weighting.catalog import WeighterInfo

if TYPE_CHECKING:  # names are read without torch
    from deepchest_cli.weighting.base import Context, Weighter

WEIGHTER = CodeKind("weighter", "class", check="deepchest weighters --check")
COMPOSITE = "deepchest+"  # DeepChest's weights on the losses of another method
OPTION_TYPES = (bool, int, float, str)


@dataclass(frozen=True)
class OwnWeighterInfo(WeighterInfo):
    """The description of a loaded class, from its constructor and its docstring."""

    loaded: Any = None  # the class
    file: Path = Path()
    sha256: str = ""  # of the file

    @property
    def factory(self) -> Any:
        """The class."""
        return self.loaded

    @property
    def source(self) -> Path:
        """The file that was loaded."""
        return self.file

    def build(
        self, tasks: Sequence[str], context: "Context", values: Mapping[str, Any]
    ) -> "Weighter":
        """Return the weighter; an error of its constructor becomes a `UsageError`."""
        try:
            return super().build(tasks, context, values)
        except UsageError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"The constructor of {short_name(self.name)} failed: {describe(error, self.file)}."
            ) from error


def code_of(name: str) -> Code | None:
    """Return the code that a weighter, alone or below `deepchest+`, names; None: a built-in one."""
    return WEIGHTER.parse(name.removeprefix(COMPOSITE)) if names_code(name) else None


def full_name(name: str) -> str:
    """Return a weighter's name, the path of one's own made absolute."""
    code = code_of(name)
    return name if code is None else _above(name) + code.name


def short_name(name: str) -> str:
    """Return a weighter's name, the path of one's own without folders."""
    code = code_of(name)
    return name if code is None else _above(name) + code.short


def _above(name: str) -> str:
    return COMPOSITE if name.startswith(COMPOSITE) else ""


def own_weighter(name: str) -> OwnWeighterInfo:
    """Return the description of a class as this process has run it; else run it."""
    return _info(loaded(WEIGHTER.parse(name)))


def load_own(name: str, expected_sha256: str | None = None) -> OwnWeighterInfo:
    """Run the file of a weighter and return the description of its class; errors as `load`.

    Raises `UsageError` for a class that breaks the contract of the base classes.
    """
    return _info(load(WEIGHTER.parse(name), expected_sha256))


@cache  # an error is not remembered
def _info(own: LoadedCode) -> OwnWeighterInfo:
    return _describe(own, _class_in(own))


def _class_in(own: LoadedCode) -> type:
    """Return the class; raises `UsageError` unless it is a weighter that can be built."""
    from deepchest_cli.weighting.base import LossWeighter
    from deepchest_cli.weighting.gradients.base import GradientWeighter

    found: type = own.find(lambda value: isinstance(value, type))
    where = f"The class {own.code.member} of {own.file}"
    if not issubclass(found, (LossWeighter, GradientWeighter)):
        raise UsageError(
            f"{where} is no weighter.",
            "Derive it from LossWeighter, PerStepWeighter, WeightedSumWeighter or GradientWeighter "
            "of deepchest_cli.weighting.",
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UsageError(
            f"{where} does not define {' and '.join(missing)}.",
            "A weighter defines forward, and the property weights unless its base class does.",
        )
    return found


def _describe(own: LoadedCode, found: type) -> OwnWeighterInfo:
    from deepchest_cli.weighting.base import Weighter
    from deepchest_cli.weighting.gradients.base import GradientWeighter

    assert issubclass(found, Weighter)
    looks_again = found.after_step is not Weighter.after_step
    doc = found.__doc__ if "__doc__" in vars(found) else None
    return OwnWeighterInfo(
        name=own.code.name,
        factory_name=own.code.member,
        summary=(inspect.cleandoc(doc or "").splitlines() or [""])[0].rstrip("."),
        paper="your own",
        memory="not stated",
        options=_options_of(found, own.file),
        passes=f"{2 if looks_again else 1} forward, 1 backward",
        kind="gradient" if issubclass(found, GradientWeighter) else "loss",
        loaded=found,
        file=own.file,
        sha256=own.sha256,
    )


def _options_of(found: type, path: Path) -> dict[str, Any]:
    """Return the constructor's keyword parameters with their defaults."""
    where = f"The constructor of {found.__name__} in {path}"
    parameters = inspect.signature(found).parameters
    if next(iter(parameters), "") != "tasks":
        raise UsageError(
            f"{where} should take `tasks`, the findings' names, first. "
            f"Found {inspect.signature(found)}.",
            "Write: def __init__(self, tasks, alpha=1.0): super().__init__(tasks)",
        )
    options = {}
    for parameter in parameters.values():
        if parameter.name in ("tasks", "context") or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            continue
        if type(parameter.default) not in OPTION_TYPES:
            raise UsageError(
                f"{where}: the option {parameter.name!r} should have a default that is a number, "
                f"a text or a truth value, which gives its type. Found {parameter}.",
                f"Write for instance: {parameter.name}=1.0",
            )
        options[parameter.name] = parameter.default
    return options

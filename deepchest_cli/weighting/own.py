"""A weighter of one's own: a class in a file, FILE.py:CLASS, or in PACKAGE.MODULE:CLASS.

Its code runs only where the caller names it. What a run or a checkpoint says of it is compared with
what the caller names, and never run.
"""

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deepchest_cli.config.flags import names_code
from deepchest_cli.errors import DeepChestError, UsageError, unknown_name
from deepchest_cli.weighting.catalog import WeighterInfo

if TYPE_CHECKING:  # names are read without torch
    from deepchest_cli.weighting.base import Context, Weighter

COMPOSITE = "deepchest+"  # DeepChest's weights on the losses of another method
SEPARATORS = re.compile(r"[/\\]")  # of folders; a path of Windows may be given anywhere
OPTION_TYPES = (bool, int, float, str)


@dataclass(frozen=True)
class Code:
    """The place of a class: an absolute path or the name of a module."""

    place: str
    class_name: str

    @property
    def name(self) -> str:
        """The weighter's full name."""
        return f"{self.place}:{self.class_name}"

    @property
    def short(self) -> str:
        """The name without folders."""
        return next(self.shortened())

    def shortened(self) -> Iterator[str]:
        """Yield the name without folders, then with one more of them each time."""
        parts = SEPARATORS.split(self.place)
        for count in range(1, len(parts) + 1):
            yield f"{'/'.join(parts[-count:])}:{self.class_name}"

    def package(self, path: Path) -> str:
        """Return the package from which a module's relative imports start; none for a file."""
        is_package = path.name == "__init__.py"
        names = self.place if is_package else self.place.rpartition(".")[0]
        return "" if _is_file(self.place) else names

    def find(self) -> Path:
        """Return the source file; raises `UsageError` where there is none."""
        if _is_file(self.place):
            path = Path(self.place)
            if not path.is_file():
                raise UsageError(f"There is no file {path}.", "A weighter is FILE.py:CLASS.")
            return path
        try:
            spec = find_spec(self.place)
        except (Exception, SystemExit) as error:  # of the packages around it, which are imported
            raise self._no_module(f"{type(error).__name__}: {error}") from error
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            raise self._no_module("it is not found")
        return Path(spec.origin)

    def _no_module(self, reason: str) -> UsageError:
        return UsageError(
            f"The module of the weighter {self.name!r} cannot be imported: {reason}.",
            "Install its package, add its folder to PYTHONPATH, or name the file: FILE.py:CLASS.",
        )


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


_loaded: dict[str, OwnWeighterInfo] = {}  # by the full name: a file that has not changed runs once


def parse_code(name: str) -> Code:
    """Return the place that FILE.py:CLASS or PACKAGE.MODULE:CLASS names, a path made absolute.

    The last colon separates, since paths of Windows have one too.
    """
    place, _, class_name = name.rpartition(":")
    if not place or not class_name.isidentifier():
        raise UsageError(f"The weighter {name!r} names no class.", "Write FILE.py:CLASS.")
    return Code(str(Path(place).expanduser().resolve()) if _is_file(place) else place, class_name)


def _is_file(place: str) -> bool:
    return place.endswith(".py") or SEPARATORS.search(place) is not None


def code_of(name: str) -> Code | None:
    """Return the code that a weighter, alone or below `deepchest+`, names; None: a built-in one."""
    return parse_code(name.removeprefix(COMPOSITE)) if names_code(name) else None


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
    return _loaded.get(parse_code(name).name) or load_own(name)


def load_own(name: str, expected_sha256: str | None = None) -> OwnWeighterInfo:
    """Run the file of a weighter and return the description of its class.

    A file that this process has run is run again only if it has changed; with `expected_sha256`
    that is an error unless the version with this hash has been run. Raises `UsageError` for code
    that cannot be run or breaks the contract of the base classes.
    """
    code = parse_code(name)
    known = _loaded.get(code.name)
    if known is not None and known.sha256 == expected_sha256:
        return known
    path = code.find()
    source = path.read_bytes()
    found = sha256(source).hexdigest()
    refuse_other_file(path, found, expected_sha256)
    if known is None or known.sha256 != found:
        known = _describe(code, path, found, _class_in(_run(code, path, source), code, path))
        _loaded[code.name] = known
    return known


def refuse_other_file(path: Path, found_sha256: str, expected_sha256: str | None) -> None:
    """Raise `UsageError` where a hash is expected and a file has another."""
    if expected_sha256 not in (None, found_sha256):
        raise UsageError(
            f"{path} is not the file that this run or comparison began with: its SHA-256 is "
            f"{found_sha256[:12]}…, not {str(expected_sha256)[:12]}….",
            "Restore the file, or start a new run or comparison.",
        )


def _run(code: Code, path: Path, source: bytes) -> ModuleType:
    """Run a file's source as a module of its own.

    Not by an import: this neither reads nor writes `__pycache__`, runs the very bytes that are
    hashed, and leaves `sys.path` and `sys.modules` as they were.
    """
    module = ModuleType(f"deepchest_own_{sha256(code.place.encode()).hexdigest()[:16]}")
    module.__dict__.update(__file__=str(path), __package__=code.package(path))
    sys.modules[module.__name__] = module  # dataclasses look there while the file runs
    try:
        with redirect_stdout(sys.stderr):  # standard output is for results
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"The file of the weighter {code.short} cannot be run: {describe(error, path)}.",
            "Mend the file. It is run alone: modules that it imports have to be installed.",
        ) from error
    finally:
        del sys.modules[module.__name__]
    return module


def describe(error: BaseException, path: Path) -> str:
    """Return an error in a sentence, with the last line of a file that it came through."""
    line = error.lineno if isinstance(error, SyntaxError) else None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    text = error.msg if isinstance(error, SyntaxError) else str(error).strip().partition("\n")[0]
    place = f"{path}, line {line}: " if line else ""
    return f"{place}{type(error).__name__}{': ' if text else ''}{text}".rstrip(".")


def failure_of_own(error: BaseException) -> DeepChestError | None:
    """Return the error to show where code of one's own failed; None where it was not involved."""
    files = {str(info.file): name for name, info in _loaded.items()}
    traceback, found = error.__traceback__, None
    while traceback is not None:
        found = files.get(traceback.tb_frame.f_code.co_filename, found)
        traceback = traceback.tb_next
    if found is None:
        return None
    info = _loaded[found]
    return DeepChestError(
        f"The weighter {short_name(found)} failed: {describe(error, info.file)}.",
        f"Check it with: deepchest weighters --check {quote(found)}; --debug shows the traceback.",
    )


def _class_in(module: ModuleType, code: Code, path: Path) -> type:
    """Return the class; raises `UsageError` unless it is a weighter that can be built."""
    from deepchest_cli.weighting.base import LossWeighter
    from deepchest_cli.weighting.gradients.base import GradientWeighter

    try:
        found = getattr(module, code.class_name, None)
    except Exception as error:  # of a module's own __getattr__, as packages have for lazy imports
        raise UsageError(
            f"{path} does not give its class {code.class_name!r}: {describe(error, path)}.",
            "A file is run alone: name the module that defines the class.",
        ) from error
    if not isinstance(found, type):
        local = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        if not local:
            raise UsageError(f"{path} has no class {code.class_name!r}, and no other.")
        raise unknown_name(f"class of {path}:", code.class_name, local)
    if not issubclass(found, (LossWeighter, GradientWeighter)):
        raise UsageError(
            f"The class {code.class_name} of {path} is no weighter.",
            "Derive it from LossWeighter, PerStepWeighter, WeightedSumWeighter or GradientWeighter "
            "of deepchest_cli.weighting.",
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UsageError(
            f"The class {code.class_name} of {path} does not define {' and '.join(missing)}.",
            "A weighter defines forward, and the property weights unless its base class does.",
        )
    return found


def _describe(code: Code, path: Path, file_sha256: str, found: type) -> OwnWeighterInfo:
    from deepchest_cli.weighting.base import Weighter
    from deepchest_cli.weighting.gradients.base import GradientWeighter

    assert issubclass(found, Weighter)
    looks_again = found.after_step is not Weighter.after_step
    doc = found.__doc__ if "__doc__" in vars(found) else None
    return OwnWeighterInfo(
        name=code.name,
        factory_name=code.class_name,
        summary=(inspect.cleandoc(doc or "").splitlines() or [""])[0].rstrip("."),
        paper="your own",
        memory="not stated",
        options=_options_of(found, path),
        passes=f"{2 if looks_again else 1} forward, 1 backward",
        kind="gradient" if issubclass(found, GradientWeighter) else "loss",
        loaded=found,
        file=path,
        sha256=file_sha256,
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

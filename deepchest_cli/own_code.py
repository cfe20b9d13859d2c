"""Code of one's own: a class or a function in a file, FILE.py:NAME, or in PACKAGE.MODULE:NAME.

It runs only where the caller names it. What a run or a checkpoint says of it is compared with what
the caller names, and never run.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Any

from deepchest_cli.errors import DeepChestError, UsageError, unknown_name

SEPARATORS = re.compile(r"[/\\]")  # of folders; a path of Windows may be given anywhere


@dataclass(frozen=True)
class CodeKind:
    """What code of one's own is used as, in the words of errors."""

    noun: str  # "weighter"
    member: str  # what the file defines: "class"
    check: str = ""  # the command that tries it, without its name

    @property
    def form(self) -> str:
        """How it is named."""
        return f"FILE.py:{self.member.upper()}"

    def parse(self, name: str) -> "Code":
        """Return the place that FILE.py:NAME or PACKAGE.MODULE:NAME names, a path made absolute.

        The last colon separates, since paths of Windows have one too.
        """
        place, _, member = name.rpartition(":")
        if not place or not member.isidentifier():
            raise UsageError(
                f"The {self.noun} {name!r} names no {self.member}.", f"Write {self.form}."
            )
        path = str(Path(place).expanduser().resolve()) if _is_file(place) else place
        return Code(self, path, member)


def _is_file(place: str) -> bool:
    return place.endswith(".py") or SEPARATORS.search(place) is not None


@dataclass(frozen=True)
class Code:
    """The place of a class or a function: an absolute path or the name of a module."""

    kind: CodeKind
    place: str
    member: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.place}:{self.member}"

    @property
    def short(self) -> str:
        """The name without folders."""
        return next(self.shortened())

    def shortened(self) -> Iterator[str]:
        """Yield the name without folders, then with one more of them each time."""
        parts = SEPARATORS.split(self.place)
        for count in range(1, len(parts) + 1):
            yield f"{'/'.join(parts[-count:])}:{self.member}"

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
                raise UsageError(
                    f"There is no file {path}.", f"Name the place where it lies: {self.kind.form}"
                )
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
            f"The module of the {self.kind.noun} {self.name!r} cannot be imported: {reason}.",
            "Install its package, add its folder to PYTHONPATH, or name the file: "
            f"{self.kind.form}.",
        )


@dataclass(frozen=True)
class LoadedCode:
    """Code of one's own as this process has run it."""

    code: Code
    file: Path
    sha256: str  # of the file
    module: ModuleType

    def find(self, is_meant: Callable[[Any], bool]) -> Any:
        """Return the class or function; raises `UsageError` where the file defines none."""
        member, kind = self.code.member, self.code.kind.member
        try:
            found = getattr(self.module, member, None)
        except Exception as error:  # of a module's own __getattr__, as packages have for imports
            raise UsageError(
                f"{self.file} does not give its {kind} {member!r}: {describe(error, self.file)}.",
                f"A file is run alone: name the module that defines the {kind}.",
            ) from error
        if is_meant(found):
            return found
        local = [
            name
            for name, value in vars(self.module).items()
            if is_meant(value) and getattr(value, "__module__", "") == self.module.__name__
        ]
        if not local:
            raise UsageError(f"{self.file} has no {kind} {member!r}, and no other.")
        raise unknown_name(f"{kind} of {self.file}:", member, local)


_loaded: dict[Code, LoadedCode] = {}  # a file that has not changed runs once


def loaded(code: Code) -> LoadedCode:
    """Return code as this process has run it; else run it."""
    return _loaded.get(code) or load(code)


def all_loaded(kind: CodeKind) -> list[LoadedCode]:
    """Return what this process has run of a kind."""
    return [one for one in _loaded.values() if one.code.kind == kind]


def load(code: Code, expected_sha256: str | None = None) -> LoadedCode:
    """Run a file of one's own.

    A file that this process has run is run again only if it has changed; with `expected_sha256`
    that is an error unless the version with this hash has been run. Raises `UsageError` for code
    that is not there or cannot be run.
    """
    known = _loaded.get(code)
    if known is not None and known.sha256 == expected_sha256:
        return known
    path = code.find()
    source = path.read_bytes()
    found = sha256(source).hexdigest()
    refuse_other_file(path, found, expected_sha256)
    if known is None or known.sha256 != found:
        known = LoadedCode(code, path, found, _run(code, path, source))
    _loaded.pop(code, None)  # what was named last stands last
    _loaded[code] = known
    return known


def refuse_other_file(path: Path, found_sha256: str, expected_sha256: str | None) -> None:
    """Raise `UsageError` where a hash is expected and a file has another."""
    if expected_sha256 not in (None, found_sha256):
        raise UsageError(
            f"{path} is not the file that this run or comparison began with: its SHA-256 is "
            f"{found_sha256[:12]}…, not {str(expected_sha256)[:12]}….",
            "Restore the file, or start a new run or comparison; leave the SHA-256 out of a "
            "configuration file for that.",
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
            f"The file of the {code.kind.noun} {code.short} cannot be run: "
            f"{describe(error, path)}.",
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


def own_behind(error: BaseException) -> LoadedCode | None:
    """Return the code of one's own that an error came through; None where it was not involved."""
    files = {str(one.file): one for one in _loaded.values()}
    traceback, found = error.__traceback__, None
    while traceback is not None:
        found = files.get(traceback.tb_frame.f_code.co_filename, found)
        traceback = traceback.tb_next
    return found


def failure_of_own(error: BaseException) -> DeepChestError | None:
    """Return the error to show where code of one's own failed; None where it was not involved."""
    found = own_behind(error)
    if found is None:
        return None
    kind = found.code.kind
    check = f"Check it with: {kind.check} {quote(found.code.name)}; " if kind.check else ""
    return DeepChestError(
        f"The {kind.noun} {found.code.short} failed: {describe(error, found.file)}.",
        f"{check}--debug shows the traceback.",
    )

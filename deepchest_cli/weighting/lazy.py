"""Classes that are imported when they are called: what a list says of them needs no torch."""

import ast
import inspect
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any

HERE = "deepchest_cli.weighting"


class Lazy:
    """A class below this package as a factory; its signature is read from its source.

    Only the names of the parameters and defaults that are plain values are in the signature.
    """

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = f"{HERE}.{module}", name

    def load(self) -> Any:
        """Return the class."""
        return getattr(import_module(self.module), self.name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return an instance of the class."""
        return self.load()(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The class's signature, for `inspect.signature`."""
        try:
            return inspect.Signature(_parameters(self.module, self.name))
        except OSError:  # a frozen program has no sources
            return inspect.signature(self.load())


@cache
def _parameters(module: str, name: str) -> list[inspect.Parameter]:
    """Return the parameters of a class that a module defines or imports, its own or inherited."""
    for node in _tree(module).body:
        if isinstance(node, ast.ImportFrom) and name in [entry.name for entry in node.names]:
            return _parameters(str(node.module), name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
                    return _of_function(inner.args)
            return _parameters(module, ast.unparse(node.bases[0]))
    raise LookupError(f"{module} has no class {name}")


def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    loader = spec.loader if spec else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise OSError(f"{module} has no source")
    return ast.parse(source)


def _of_function(arguments: ast.arguments) -> list[inspect.Parameter]:
    names = [argument.arg for argument in arguments.args[1:]]  # without self
    first = len(names) - len(arguments.defaults)
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=_value(arguments.defaults[i - first])
            if i >= first
            else inspect.Parameter.empty,
        )
        for i, name in enumerate(names)
    ]


def _value(default: ast.expr) -> Any:
    try:
        return ast.literal_eval(default)
    except ValueError:
        return ...  # a name, which stands for an object

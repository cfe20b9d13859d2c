"""A backbone of one's own: what a function returns, FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.

A checkpoint has the name of the function and the hash of its file. The function runs only where the
caller names it; the file may lie elsewhere by then.
"""

import inspect
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from itertools import chain
from typing import Any
from weakref import WeakSet

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from deepchest_cli.config.flags import is_own_backbone
from deepchest_cli.errors import UsageError
from deepchest_cli.model.backbones.base import (
    AUTO_POOL,
    GRAY,
    BackboneSource,
    BackboneSpec,
    refuse_pooling,
)
from deepchest_cli.model.backbones.own_trial import count_features, features_of
from deepchest_cli.own_code import CodeKind, LoadedCode, all_loaded, describe, load, loaded

BACKBONE = CodeKind("backbone", "function")
HASH, FEATURES = "sha256", "features"  # in a description's `config`
KEYWORDS = ("channels", "image_size")
DROP_PATH = "drop_path"
_built: "WeakSet[nn.Module]" = WeakSet()


class OwnFunctionSource(BackboneSource):
    """Networks that functions of one's own return."""

    def resolve(self, name: str) -> str:
        """Return the name as it is; raises `UsageError` where it names no function."""
        BACKBONE.parse(name)
        return name

    def describe(self, name: str, image_size: int, pool: str = AUTO_POOL) -> BackboneSpec:
        """Run the function, try its network, and return the description, its name without folders.

        The random state stays as it was. Raises `UsageError` for code that cannot be run, and for
        a network that does not give features (B, D).
        """
        own = loaded(BACKBONE.parse(name))
        refuse_pooling(own.code.short, pool)
        with torch.random.fork_rng(devices=[]):
            features = count_features(_network(own, image_size), own, image_size)
        config = {HASH: own.sha256, FEATURES: features}
        return BackboneSpec(own.code.short, image_size, config=config)

    def build(self, spec: BackboneSpec, drop_path: float = 0.0) -> tuple[nn.Module, int]:
        """Return the function's network; raises `UsageError` unless its code has been named."""
        return _network(_named(spec), spec.image_size, drop_path), spec.config[FEATURES]


def run_backbone(name: str, expected_sha256: str | None = None) -> tuple[str, str]:
    """Run the file of a function; return its full name and the file's hash; errors as `load`."""
    own = load(BACKBONE.parse(name), expected_sha256)
    _function(own)
    return own.code.name, own.sha256


def run_named(names: Iterable[str]) -> None:
    """Run the files of functions that the caller names, so that models of theirs can be loaded."""
    for name in names:
        if not is_own_backbone(name):
            raise UsageError(
                f"--backbone is for a model with code of your own. Found {name!r}.",
                f"Write {BACKBONE.form}; any other model knows its backbone.",
            )
        run_backbone(name)


def _named(spec: BackboneSpec) -> LoadedCode:
    """Return the code of a description; it is among what the caller has named."""
    member, expected = spec.name.rpartition(":")[2], spec.config.get(HASH)
    alike = [own for own in all_loaded(BACKBONE) if own.code.member == member]
    for own in reversed(alike):
        if own.sha256 == expected:
            return own
    if alike:
        raise UsageError(
            f"{alike[-1].file} is not the file that the backbone {spec.name} was trained with: its "
            f"SHA-256 is {alike[-1].sha256[:12]}…, not {str(expected)[:12]}….",
            f"Restore the file, or name the former one: --backbone {BACKBONE.form}",
        )
    raise UsageError(
        f"The backbone {spec.name} is code of your own, which runs only where it is named.",
        f"Name it: --backbone {'FOLDER/' if '.py:' in spec.name else ''}{spec.name}",
    )


def _function(own: LoadedCode) -> Any:
    """Return the function, or the class of a network."""
    found, where = own.find(callable), f"{own.code.member} of {own.file}"
    if isinstance(found, nn.Module):
        raise UsageError(
            f"{where} is a network, which all models would share.",
            "Name a function that returns a new one, or the class.",
        )
    if isinstance(found, type) and not issubclass(found, nn.Module):
        raise UsageError(
            f"The class {where} is no torch.nn.Module.",
            "Derive it from nn.Module, or write a function that returns one.",
        )
    return found


def _network(own: LoadedCode, image_size: int, drop_path: float = 0.0) -> nn.Module:
    """Return a new network with random weights."""
    function = _function(own)
    takes = _keywords(function, own)
    if drop_path and DROP_PATH not in takes:
        raise UsageError(
            f"{own.code.short} does not take the keyword {DROP_PATH}.",
            "Use --drop-path 0, or let the function take it.",
        )
    values = {"channels": GRAY, "image_size": image_size, DROP_PATH: drop_path}
    try:
        with redirect_stdout(sys.stderr):  # standard output is for results
            network = function(**{key: values[key] for key in takes})
    except (Exception, SystemExit) as error:
        raise UsageError(f"{own.code.short} failed: {describe(error, own.file)}.") from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"{own.code.short} should return a torch.nn.Module. Found {type(network).__name__}.",
            "Let the function end with: return network",
        )
    if network in _built:
        raise UsageError(
            f"{own.code.short} returned the same network before, and models would share weights.",
            "Let the function make a new one each time.",
        )
    _built.add(network)
    if any(map(is_lazy, chain(network.parameters(), network.buffers()))):
        blank = torch.zeros(1, GRAY, image_size, image_size)
        features_of(network.eval(), blank, own)  # gives the layers their shapes
        network.train()
    return network


def _keywords(function: Any, own: LoadedCode) -> list[str]:
    """Return which of our keywords a function takes."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:  # of some functions in C
        raise UsageError(f"{own.code.short} does not say what it takes: {error}.") from error
    parameters = list(signature.parameters.values())
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [
        p for p in parameters if p.kind not in (inspect.Parameter.POSITIONAL_ONLY, *any_number)
    ]
    takes = [p.name for p in named if p.name in (*KEYWORDS, DROP_PATH)]
    others = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in any_number and p.name not in takes
    ]
    if others:
        raise UsageError(
            f"{own.code.member} of {own.file} should take the keywords channels and image_size, or "
            f"fewer; any other has a default. Found {signature}.",
            f"Write: def {own.code.member}(channels, image_size):",
        )
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        takes = list(dict.fromkeys([*takes, *KEYWORDS]))
    return takes

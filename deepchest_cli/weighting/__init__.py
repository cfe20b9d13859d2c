"""Task weighting, usable in any training loop: one weighter per file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepchest_cli.weighting.catalog import WEIGHTERS as WEIGHTERS
from deepchest_cli.weighting.info import WeighterInfo as WeighterInfo

if TYPE_CHECKING:
    from deepchest_cli.weighting.public import *  # noqa: F403 - as at run time, all it has


def __getattr__(name: str) -> Any:
    """Import torch with the first name that needs it: the list of weighters does not."""
    public = import_module("deepchest_cli.weighting.public")
    if name in public.__all__:
        return getattr(public, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

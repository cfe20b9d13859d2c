"""Task weighting, usable in any training loop: one weighter per file.

Everything that needs torch is imported at its first use, since the list of weighters needs none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from deepchest_cli.weighting.catalog import WEIGHTERS as WEIGHTERS
from deepchest_cli.weighting.catalog import WeighterInfo as WeighterInfo
from deepchest_cli.weighting.registry import build_weighter as build_weighter

if TYPE_CHECKING:
    from deepchest_cli.weighting.base import Context as Context
    from deepchest_cli.weighting.base import LossWeighter as LossWeighter
    from deepchest_cli.weighting.base import Performance as Performance
    from deepchest_cli.weighting.base import PerStepWeighter as PerStepWeighter
    from deepchest_cli.weighting.base import PrivateGenerator as PrivateGenerator
    from deepchest_cli.weighting.base import TaskLosses as TaskLosses
    from deepchest_cli.weighting.base import WeightedSumWeighter as WeightedSumWeighter
    from deepchest_cli.weighting.base import Weighter as Weighter
    from deepchest_cli.weighting.composite import CompositeWeighter as CompositeWeighter
    from deepchest_cli.weighting.epoch_results import EpochResults as EpochResults
    from deepchest_cli.weighting.gradients.base import GradientWeighter as GradientWeighter
    from deepchest_cli.weighting.loop import objective as objective
    from deepchest_cli.weighting.loop import undisturbed as undisturbed
    from deepchest_cli.weighting.losses import across_processes as across_processes
    from deepchest_cli.weighting.losses import task_losses as task_losses
    from deepchest_cli.weighting.signals import measure as measure

# what this package offers beside the weighters themselves, by the module that defines it
_MODULES = {
    **dict.fromkeys(("Context", "Performance", "PrivateGenerator", "TaskLosses"), "base"),
    **dict.fromkeys(("LossWeighter", "PerStepWeighter", "WeightedSumWeighter", "Weighter"), "base"),
    "CompositeWeighter": "composite",
    "GradientWeighter": "gradients.base",
    "EpochResults": "epoch_results",
    **dict.fromkeys(("objective", "undisturbed"), "loop"),
    "measure": "signals",
    **dict.fromkeys(("across_processes", "task_losses"), "losses"),
}
_CLASSES = {info.factory_name: info.module for info in WEIGHTERS.values()}


def __getattr__(name: str) -> Any:
    module = f"{__name__}.{_MODULES[name]}" if name in _MODULES else _CLASSES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted({"WEIGHTERS", "WeighterInfo", "build_weighter", *_MODULES, *_CLASSES})

"""Task weighting, usable in any training loop: one weighter per file."""

from deepchest_cli.weighting.base import Context, LossWeighter, Performance, TaskLosses, Weighter
from deepchest_cli.weighting.deepchest import DeepChestWeighter
from deepchest_cli.weighting.equal import EqualWeighter
from deepchest_cli.weighting.registry import WEIGHTERS, WeighterInfo, build_weighter

__all__ = [
    "WEIGHTERS",
    "Context",
    "DeepChestWeighter",
    "EqualWeighter",
    "LossWeighter",
    "Performance",
    "TaskLosses",
    "Weighter",
    "WeighterInfo",
    "build_weighter",
]

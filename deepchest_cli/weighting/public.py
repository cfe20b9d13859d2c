"""Task weighting, usable in any training loop: one weighter per file."""

from deepchest_cli.weighting.base import Context, LossWeighter, Performance, TaskLosses, Weighter
from deepchest_cli.weighting.catalog import WEIGHTERS
from deepchest_cli.weighting.composite import CompositeWeighter
from deepchest_cli.weighting.deepchest import DeepChestWeighter
from deepchest_cli.weighting.dtp import DynamicTaskPriority
from deepchest_cli.weighting.dwa import DynamicWeightAverage
from deepchest_cli.weighting.equal import EqualWeighter
from deepchest_cli.weighting.famo import FamoWeighter
from deepchest_cli.weighting.fixed import FixedWeighter
from deepchest_cli.weighting.gls import GeometricLossWeighter
from deepchest_cli.weighting.go4align import Go4AlignWeighter
from deepchest_cli.weighting.gradients.backward import backward
from deepchest_cli.weighting.gradients.base import GradientWeighter
from deepchest_cli.weighting.imtl_l import ImpartialLossWeighter
from deepchest_cli.weighting.info import WeighterInfo
from deepchest_cli.weighting.inverse_loss import InverseLossWeighter
from deepchest_cli.weighting.prevalence import PrevalenceWeighter
from deepchest_cli.weighting.registry import build_weighter
from deepchest_cli.weighting.rlw import RandomLossWeighter
from deepchest_cli.weighting.scale_invariant import ScaleInvariantWeighter
from deepchest_cli.weighting.signals import measure
from deepchest_cli.weighting.stch import SmoothTchebycheff
from deepchest_cli.weighting.uncertainty import UncertaintyWeighter
from deepchest_cli.weighting.uw_so import SoftOptimalUncertaintyWeighter

__all__ = [
    "WEIGHTERS",
    "CompositeWeighter",
    "Context",
    "DeepChestWeighter",
    "DynamicTaskPriority",
    "DynamicWeightAverage",
    "EqualWeighter",
    "FamoWeighter",
    "FixedWeighter",
    "GeometricLossWeighter",
    "Go4AlignWeighter",
    "GradientWeighter",
    "ImpartialLossWeighter",
    "InverseLossWeighter",
    "LossWeighter",
    "Performance",
    "PrevalenceWeighter",
    "RandomLossWeighter",
    "ScaleInvariantWeighter",
    "SmoothTchebycheff",
    "SoftOptimalUncertaintyWeighter",
    "TaskLosses",
    "UncertaintyWeighter",
    "Weighter",
    "WeighterInfo",
    "backward",
    "build_weighter",
    "measure",
]

"""From a source to shards: planned, converted in one pass, published whole or not at all."""

from deepchest_cli.data.preparation.planning import Plan, plan_preparation
from deepchest_cli.data.preparation.publishing import Preparation
from deepchest_cli.data.preparation.running import run_preparation

__all__ = ["Plan", "Preparation", "plan_preparation", "run_preparation"]

"""Configuration: one frozen dataclass per command, from which its flags and its file keys follow.

A field's annotation carries its `Flag`: help, bounds and spelling stand in one place. Values come
from the command line, over a TOML file, over a recipe, over the defaults of the dataclass.
"""

from deepchest_cli.config.commands import (
    DoctorConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PrepareConfig,
    WeightersConfig,
)
from deepchest_cli.config.comparison import CompareConfig
from deepchest_cli.config.files import read_run_config, read_toml, to_toml
from deepchest_cli.config.flags import (
    AUTO,
    DEFAULT_DATA,
    DEFAULT_MODEL,
    DEMO_DATA,
    DEMO_SOURCE,
    NIH_SOURCE,
    RUN_CONFIG,
    RUN_ENVIRONMENT,
    Flag,
    choices_of,
    find_data,
    flag_of,
    flags_of,
    parse_assignment,
    parse_assignments,
    refuse_unknown_device,
)
from deepchest_cli.config.recipes import RECIPES, find_recipe
from deepchest_cli.config.training import RunConfig, TrainConfig

__all__ = [
    "AUTO",
    "DEFAULT_DATA",
    "DEFAULT_MODEL",
    "DEMO_DATA",
    "DEMO_SOURCE",
    "NIH_SOURCE",
    "RECIPES",
    "RUN_CONFIG",
    "RUN_ENVIRONMENT",
    "CompareConfig",
    "DoctorConfig",
    "EvaluateConfig",
    "ExportConfig",
    "Flag",
    "PredictConfig",
    "PrepareConfig",
    "RunConfig",
    "TrainConfig",
    "WeightersConfig",
    "choices_of",
    "find_data",
    "find_recipe",
    "flag_of",
    "flags_of",
    "parse_assignment",
    "parse_assignments",
    "read_run_config",
    "read_toml",
    "refuse_unknown_device",
    "to_toml",
]

"""Configuration: one frozen dataclass per command, from which its flags and its file keys follow.

A field's annotation carries its `Flag`: help, bounds and spelling stand in one place. Values come
from the command line, over a TOML file, over a recipe, over the defaults of the dataclass.
"""

from deepchest_cli.config.commands import DoctorConfig as DoctorConfig
from deepchest_cli.config.commands import ExportConfig as ExportConfig
from deepchest_cli.config.commands import PredictConfig as PredictConfig
from deepchest_cli.config.commands import PrepareConfig as PrepareConfig
from deepchest_cli.config.commands import RecalibrateConfig as RecalibrateConfig
from deepchest_cli.config.commands import RunsConfig as RunsConfig
from deepchest_cli.config.commands import WeightersConfig as WeightersConfig
from deepchest_cli.config.comparison import CompareConfig as CompareConfig
from deepchest_cli.config.evaluation import EvaluateConfig as EvaluateConfig
from deepchest_cli.config.files import RECIPES as RECIPES
from deepchest_cli.config.files import find_recipe as find_recipe
from deepchest_cli.config.files import read_toml as read_toml
from deepchest_cli.config.files import to_toml as to_toml
from deepchest_cli.config.flags import AUTO as AUTO
from deepchest_cli.config.flags import DEFAULT_DATA as DEFAULT_DATA
from deepchest_cli.config.flags import DEFAULT_MODEL as DEFAULT_MODEL
from deepchest_cli.config.flags import DEMO_DATA as DEMO_DATA
from deepchest_cli.config.flags import DEMO_SOURCE as DEMO_SOURCE
from deepchest_cli.config.flags import NIH_SOURCE as NIH_SOURCE
from deepchest_cli.config.flags import RUN_CONFIG as RUN_CONFIG
from deepchest_cli.config.flags import Flag as Flag
from deepchest_cli.config.flags import choices_of as choices_of
from deepchest_cli.config.flags import command_line as command_line
from deepchest_cli.config.flags import find_data as find_data
from deepchest_cli.config.flags import flag_of as flag_of
from deepchest_cli.config.flags import flags_of as flags_of
from deepchest_cli.config.flags import names_code as names_code
from deepchest_cli.config.flags import parse_assignment as parse_assignment
from deepchest_cli.config.flags import parse_assignments as parse_assignments
from deepchest_cli.config.flags import refuse_unknown_device as refuse_unknown_device
from deepchest_cli.config.training import RunConfig as RunConfig
from deepchest_cli.config.training import TrainConfig as TrainConfig

"""What stands in the folder of a run: names of files and columns, which are read without torch."""

from pathlib import Path

from deepchest_cli.config.flags import RUN_ENVIRONMENT

RUNS = Path("runs")
LATEST = "latest"
ENVIRONMENT, METRICS, WEIGHTS = RUN_ENVIRONMENT, "metrics.csv", "weights.csv"
CHARTS = ("metrics", "weights", "sources")  # each is a .png of that name
LEARNING_RATES = "learning_rates.csv"  # of a linear probe
SOURCE, ALL = "source", "all"  # a column of metrics.csv, and its value for all data sets together
EACH = "/"  # between the name of a metric and that of a finding, in other columns

"""Synthetic chest radiographs of one or two hospitals, for a demonstration."""

from deepchest_cli.data.synthetic.csv_layout import TABLE
from deepchest_cli.data.synthetic.population import DEFAULT_IMAGES, MINIMUM_IMAGES
from deepchest_cli.data.synthetic.sites import SITES
from deepchest_cli.data.synthetic.writing import write_demo

__all__ = ["DEFAULT_IMAGES", "MINIMUM_IMAGES", "SITES", "TABLE", "write_demo"]

"""Synthetic chest radiographs in the layout of NIH ChestX-ray14, for a demonstration."""

from deepchest_cli.data.synthetic.population import DEFAULT_IMAGES, MINIMUM_IMAGES
from deepchest_cli.data.synthetic.writing import write_demo

__all__ = ["DEFAULT_IMAGES", "MINIMUM_IMAGES", "write_demo"]

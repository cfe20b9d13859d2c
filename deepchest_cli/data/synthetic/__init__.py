"""Synthetic chest radiographs in the layout of NIH ChestX-ray14, for a demonstration."""

from deepchest_cli.data.synthetic.catalog import CATALOG, SyntheticFinding
from deepchest_cli.data.synthetic.population import (
    DEFAULT_IMAGES,
    MINIMUM_IMAGES,
    Population,
    plan_population,
)
from deepchest_cli.data.synthetic.rendering import render_radiograph
from deepchest_cli.data.synthetic.specification import Box, Lesion, RadiographSpec, Rendered
from deepchest_cli.data.synthetic.writing import write_demo

__all__ = [
    "CATALOG",
    "DEFAULT_IMAGES",
    "MINIMUM_IMAGES",
    "Box",
    "Lesion",
    "Population",
    "RadiographSpec",
    "Rendered",
    "SyntheticFinding",
    "plan_population",
    "render_radiograph",
    "write_demo",
]

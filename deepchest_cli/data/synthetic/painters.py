"""Each finding's painter."""

from collections.abc import Callable

import numpy as np

from deepchest_cli.data.synthetic import diffuse, parenchyma, pleura
from deepchest_cli.data.synthetic.canvas import Canvas

Painter = Callable[[Canvas, float, np.random.Generator], None]

PAINTERS: dict[str, Painter] = {
    "Atelectasis": parenchyma.paint_atelectasis,
    "Cardiomegaly": diffuse.paint_cardiomegaly,
    "Effusion": pleura.paint_effusion,
    "Infiltration": parenchyma.paint_infiltration,
    "Mass": parenchyma.paint_mass,
    "Nodule": parenchyma.paint_nodule,
    "Pneumonia": parenchyma.paint_pneumonia,
    "Pneumothorax": pleura.paint_pneumothorax,
    "Consolidation": parenchyma.paint_consolidation,
    "Edema": diffuse.paint_edema,
    "Emphysema": parenchyma.paint_bullae,
    "Fibrosis": diffuse.paint_fibrosis,
    "Pleural_Thickening": pleura.paint_pleural_thickening,
    "Hernia": diffuse.paint_hernia,
}

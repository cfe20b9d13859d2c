"""The fourteen findings as the demo shows them: how often, how hard, and what is drawn.

Each has a prevalence that is even enough for a small demo to have some of all, and one in a long
tail: NIH's (Wang et al. 2017, arXiv 1705.02315), but for the hernia, which has 0.2 % there.
"""

from dataclasses import dataclass
from typing import Literal

# Declared for a ResNet-18 from scratch on 64 px after four epochs: AUROC above 0.9 is easy, below
# 0.8 is hard. Findings that share an image's labels with easier ones can come out better.
Difficulty = Literal["easy", "moderate", "hard"]


@dataclass(frozen=True, slots=True)
class SyntheticFinding:
    """One row of the table; prevalences are fractions of all images."""

    name: str
    prevalence: float
    tail_prevalence: float
    difficulty: Difficulty
    drawn_as: str


CATALOG: tuple[SyntheticFinding, ...] = (
    SyntheticFinding("Atelectasis", 0.098, 0.103, "moderate",
                     "plate or wedge opacity, raised hemidiaphragm, shift"),
    SyntheticFinding("Cardiomegaly", 0.054, 0.025, "easy",
                     "heart wider than half of the thorax"),
    SyntheticFinding("Effusion", 0.110, 0.119, "easy",
                     "meniscus that blunts the angle and whitens the lower zone"),
    SyntheticFinding("Infiltration", 0.130, 0.177, "hard",
                     "ill-defined faint patches in several zones"),
    SyntheticFinding("Mass", 0.064, 0.052, "moderate",
                     "round lobulated opacity of more than 3 cm"),
    SyntheticFinding("Nodule", 0.070, 0.057, "hard",
                     "small round opacity of less than 3 cm"),
    SyntheticFinding("Pneumonia", 0.045, 0.013, "hard",
                     "one focal fluffy segmental opacity"),
    SyntheticFinding("Pneumothorax", 0.061, 0.047, "moderate",
                     "pleural line with a dark vessel-free zone outside it"),
    SyntheticFinding("Consolidation", 0.059, 0.042, "moderate",
                     "dense lobar opacity, air bronchograms"),
    SyntheticFinding("Edema", 0.050, 0.020, "easy",
                     "bilateral perihilar haze, Kerley lines, full vessels"),
    SyntheticFinding("Emphysema", 0.052, 0.022, "easy",
                     "long dark lungs, flat diaphragms, narrow heart"),
    SyntheticFinding("Fibrosis", 0.048, 0.015, "moderate",
                     "coarse reticular lines at bases and periphery"),
    SyntheticFinding("Pleural_Thickening", 0.056, 0.030, "hard",
                     "bright band along the lateral wall or the apex"),
    SyntheticFinding("Hernia", 0.042, 0.012, "moderate",
                     "round density behind the heart with an air-fluid level"),
)  # fmt: skip

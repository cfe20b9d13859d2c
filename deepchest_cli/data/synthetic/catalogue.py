"""The fourteen findings as the demo shows them: how often, how hard, and what is drawn."""

from dataclasses import dataclass
from typing import Literal

# Declared for a ResNet-18 from scratch on 64 px after four epochs: AUROC above 0.9 is easy, below
# 0.8 is hard. Findings that share an image's labels with easier ones can come out better.
Difficulty = Literal["easy", "moderate", "hard"]


@dataclass(frozen=True, slots=True)
class SyntheticFinding:
    """One row of the table; prevalence is the fraction of all images."""

    name: str
    prevalence: float
    difficulty: Difficulty
    drawn_as: str


CATALOGUE: tuple[SyntheticFinding, ...] = (
    SyntheticFinding(
        "Atelectasis", 0.098, "moderate", "plate or wedge opacity, raised hemidiaphragm, shift"
    ),
    SyntheticFinding("Cardiomegaly", 0.054, "easy", "heart wider than half of the thorax"),
    SyntheticFinding(
        "Effusion", 0.110, "easy", "meniscus that blunts the angle and whitens the lower zone"
    ),
    SyntheticFinding("Infiltration", 0.130, "hard", "ill-defined faint patches in several zones"),
    SyntheticFinding("Mass", 0.064, "moderate", "round lobulated opacity of more than 3 cm"),
    SyntheticFinding("Nodule", 0.070, "hard", "small round opacity of less than 3 cm"),
    SyntheticFinding("Pneumonia", 0.045, "hard", "one focal fluffy segmental opacity"),
    SyntheticFinding(
        "Pneumothorax", 0.061, "moderate", "pleural line with a dark vessel-free zone outside it"
    ),
    SyntheticFinding("Consolidation", 0.059, "moderate", "dense lobar opacity, air bronchograms"),
    SyntheticFinding(
        "Edema", 0.050, "easy", "bilateral perihilar haze, Kerley lines, full vessels"
    ),
    SyntheticFinding("Emphysema", 0.052, "easy", "long dark lungs, flat diaphragms, narrow heart"),
    SyntheticFinding(
        "Fibrosis", 0.048, "moderate", "coarse reticular lines at bases and periphery"
    ),
    SyntheticFinding(
        "Pleural_Thickening", 0.056, "hard", "bright band along the lateral wall or the apex"
    ),
    SyntheticFinding(
        "Hernia", 0.042, "moderate", "round density behind the heart with an air-fluid level"
    ),
)

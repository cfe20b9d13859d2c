"""Who is radiographed, how often, from which side, with which findings, and who is in the test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.sites import FIRST
from deepchest_cli.data.synthetic.specification import (
    Chance,
    Integers,
    Lesion,
    Numbers,
    RadiographSpec,
    Sex,
    Site,
    Stream,
    View,
    image_chance,
    patient_chance,
)

# Declared for a ResNet-18 from scratch on 64 px after four epochs: AUROC above 0.9 is easy, below
# 0.8 is hard. Findings that share an image's labels with easier ones can come out better.
Difficulty = Literal["easy", "moderate", "hard"]


@dataclass(frozen=True, slots=True)
class SyntheticFinding:
    """How often, how hard, and what is drawn; prevalences are fractions of all images.

    The first is even enough for a small demo to have some of all findings, the second has NIH's
    long tail (Wang et al. 2017, arXiv 1705.02315), but for the hernia, which has 0.2 % there.
    """

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

Marks = npt.NDArray[np.bool_]
_MOST_FINDINGS = 5
_PERSISTENCE = 6.0
# How much likelier a finding becomes beside another one, either way round.
_TOGETHER = {
    "Infiltration": {"Effusion": 1.8, "Atelectasis": 1.8, "Pneumonia": 3.0, "Edema": 3.0},
    "Effusion": {"Atelectasis": 2.5, "Consolidation": 2.2, "Cardiomegaly": 2.5},
    "Atelectasis": {"Consolidation": 2.0},
    "Edema": {"Pneumonia": 3.0},
    "Fibrosis": {"Pleural_Thickening": 4.0},
    "Mass": {"Nodule": 3.0},
    # An over-inflated chest has no room for what a heart failure shows.
    "Emphysema": {"Cardiomegaly": 0.05, "Edema": 0.2},
    "Pneumothorax": {"Emphysema": 4.0, "Cardiomegaly": 0.4},
}
_ALONE = {"Hernia": 0.3, "Fibrosis": 0.7, "Nodule": 0.7}
# How much likelier a finding is on a portable AP image.
_PORTABLE = {"Edema": 8.0, "Infiltration": 1.7, "Effusion": 1.6, "Atelectasis": 1.4,
             "Consolidation": 1.6, "Pneumonia": 1.5, "Hernia": 0.5, "Fibrosis": 0.4, "Nodule": 0.6,
             "Mass": 0.7}  # fmt: skip
_PORTABLE_FACTORS = np.array([_PORTABLE.get(name, 1.0) for name in FINDINGS])
_TYPICALLY_ILL = 0.53  # fraction of images, for which the catalog's prevalences are
DEFAULT_IMAGES = 2000
MINIMUM_IMAGES = 40
# Fraction of patients with 1, 2, ... images: 2.5 images on average.
_IMAGES_PER_PATIENT = (0.40, 0.22, 0.14, 0.09, 0.06, 0.04, 0.03, 0.02)


def assign_findings(
    radiographs: Sequence[RadiographSpec], ill: float, shares: Sequence[float], chance: Chance
) -> list[tuple[str, ...]]:
    """The findings of each image of one split, a fraction `ill` of which has any.

    shares: of the images that would have each finding if a typical number were ill.
    """
    patients = np.array([spec.patient for spec in radiographs])
    portable = np.array([spec.view == "AP" for spec in radiographs])
    sick = _choose_sick(patients, portable, ill, chance)
    suiting = np.where(portable[sick, None], _PORTABLE_FACTORS, 1.0)
    marks = _deal(_deck(len(radiographs), ill, shares, chance), suiting, patients[sick], chance)
    labels: list[tuple[str, ...]] = [()] * len(radiographs)
    for image, row in zip(sick.tolist(), marks, strict=True):
        labels[image] = tuple(name for name, mark in zip(FINDINGS, row, strict=True) if mark)
    return labels


def _choose_sick(patients: Integers, portable: Marks, ill: float, chance: Chance) -> Integers:
    """Images with a finding: mostly the same patients, those in bed and those seen often."""
    _, patient, counts = np.unique(patients, return_inverse=True, return_counts=True)
    score = chance.normal(0, 1.2, len(counts))[patient] + chance.normal(0, 0.6, len(patients))
    score += 0.6 * portable + 0.15 * counts[patient]
    return np.sort(np.argsort(-score)[: round(ill * len(patients))])


def _deck(images: int, ill: float, shares: Sequence[float], chance: Chance) -> Integers:
    """Every finding as often as its share asks, shuffled; at least once, but for a share of 0."""
    quotas = [max(share > 0, round(share * images * ill / _TYPICALLY_ILL)) for share in shares]
    return chance.permutation(np.repeat(np.arange(len(FINDINGS)), quotas))


def _deal(deck: Integers, suiting: Numbers, patients: Integers, chance: Chance) -> Marks:
    """Each card to an image it suits; suiting (images, findings) grows with what is dealt."""
    marks = np.zeros(suiting.shape, np.bool_)
    held = np.zeros(len(marks), np.int_)
    for turn, finding in enumerate(deck.tolist()):
        # The first round gives every sick image one finding, later ones add to them.
        most = 1 if turn < len(marks) else _MOST_FINDINGS
        reach = np.cumsum(suiting[:, finding] * (held < most) * ~marks[:, finding])
        if reach[-1] == 0:
            continue
        image = int(np.searchsorted(reach, chance.uniform() * reach[-1], side="right"))
        relatives = patients == patients[image]
        if not marks[relatives, finding].any():
            suiting[relatives, finding] *= _PERSISTENCE
        suiting[image] *= _TOGETHER_FACTORS[finding]
        marks[image, finding] = True
        held[image] += 1
    return marks


def _together_factors() -> Numbers:
    factors = np.ones((len(FINDINGS), len(FINDINGS)))
    for name, factor in _ALONE.items():
        factors[FINDINGS.index(name)] *= factor
        factors[:, FINDINGS.index(name)] *= factor
    for one, others in _TOGETHER.items():
        for other, factor in others.items():
            first, second = FINDINGS.index(one), FINDINGS.index(other)
            factors[[first, second], [second, first]] *= factor
    return factors


_TOGETHER_FACTORS = _together_factors()


@dataclass(frozen=True, slots=True)
class Population:
    """All images in file order, and the patients of the test split."""

    radiographs: tuple[RadiographSpec, ...]
    test_patients: frozenset[int]

    def images_of(self, *, test: bool) -> tuple[RadiographSpec, ...]:
        """The images of one split."""
        return tuple(s for s in self.radiographs if (s.patient in self.test_patients) == test)


def plan_population(
    images: int = DEFAULT_IMAGES, *, seed: int = 0, long_tail: bool = False, site: Site = FIRST
) -> Population:
    """Exactly that many images; without drawing any. ValueError below MINIMUM_IMAGES.

    long_tail: whether some findings are rare, as at NIH.
    """
    if images < MINIMUM_IMAGES:
        raise ValueError(f"a demo needs at least {MINIMUM_IMAGES} images, not {images}")
    # A last 0 changes nothing that is drawn.
    chance = np.random.default_rng([seed, images, site.patients_before])
    bare = [spec for patient in _patients(images, seed, site, chance) for spec in patient]
    test = _choose_test(bare, site.test_fraction, chance)
    shares = [
        (row.tail_prevalence if long_tail else row.prevalence) * site.frequency.get(row.name, 1.0)
        for row in CATALOG
    ]
    labeled: list[RadiographSpec] = []
    for is_test, ill in zip((False, True), site.ill, strict=True):
        split = [spec for spec in bare if (spec.patient in test) == is_test]
        findings = assign_findings(split, ill, shares, chance)
        labeled += [_with_lesions(*pair) for pair in zip(split, findings, strict=True)]
    labeled.sort(key=lambda spec: (spec.patient, spec.follow_up))
    return Population(tuple(labeled), test)


def _patients(images: int, seed: int, site: Site, chance: Chance) -> list[list[RadiographSpec]]:
    patients: list[list[RadiographSpec]] = []
    left = images
    while left:
        count = min(1 + int(chance.choice(len(_IMAGES_PER_PATIENT), p=_IMAGES_PER_PATIENT)), left)
        number = site.patients_before + len(patients) + 1
        patients.append(_follow_ups(seed, number, count, site))
        left -= count
    return patients


def _follow_ups(seed: int, patient: int, count: int, site: Site) -> list[RadiographSpec]:
    """A patient's images without findings; in-patients are mostly taken AP, in bed."""
    chance = np.random.default_rng([seed, patient, Stream.HISTORY])
    age = int(np.clip(chance.normal(site.age, 17), 8, 90))
    sex: Sex = "M" if chance.uniform() < 0.56 else "F"
    portable = 0.8 if chance.uniform() < site.bedridden else 0.15
    radiographs = []
    for follow_up in range(count):
        view: View = "AP" if chance.uniform() < portable else "PA"
        radiographs.append(
            RadiographSpec(seed, patient, follow_up, age, sex, view, machine=site.machine)
        )
        age += int(chance.choice(4, p=(0.55, 0.28, 0.12, 0.05)))
    return radiographs


def _choose_test(bare: list[RadiographSpec], fraction: float, chance: Chance) -> frozenset[int]:
    """Patients until a fraction of the images is reached; those with more images sooner."""
    numbers, counts = np.unique([spec.patient for spec in bare], return_counts=True)
    order = np.argsort(-(chance.uniform(size=len(numbers)) ** (1 / counts**0.7)))
    enough = np.searchsorted(np.cumsum(counts[order]), fraction * len(bare)) + 1
    return frozenset(numbers[order[:enough]].tolist())


def _with_lesions(spec: RadiographSpec, findings: tuple[str, ...]) -> RadiographSpec:
    """Severities: a patient's own level for each finding, changing a little between images."""
    count = len(FINDINGS)
    levels: Numbers = patient_chance(spec, Stream.HISTORY).beta(1.3, 1.3, count)
    changes: Numbers = image_chance(spec, Stream.HISTORY).normal(0, 0.12, count)
    severities = dict(zip(FINDINGS, np.clip(levels + changes, 0, 1).tolist(), strict=True))
    lesions = tuple(Lesion(finding, severities[finding]) for finding in findings)
    return replace(spec, lesions=lesions)

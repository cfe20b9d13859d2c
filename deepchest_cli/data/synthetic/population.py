"""Who is radiographed, how often and from which side, and who is kept for the test."""

from dataclasses import dataclass, replace

import numpy as np

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.synthetic.labels import assign_findings
from deepchest_cli.data.synthetic.specification import (
    Lesion,
    Numbers,
    RadiographSpec,
    Sex,
    Stream,
    View,
    image_chance,
    patient_chance,
)

DEFAULT_IMAGES = 2000
MINIMUM_IMAGES = 40
_TEST_FRACTION = 0.25
# Fraction of patients with 1, 2, ... images: 2.5 images on average.
_IMAGES_PER_PATIENT = (0.40, 0.22, 0.14, 0.09, 0.06, 0.04, 0.03, 0.02)
# Fractions of images with a finding; the test patients are the sicker ones, as at NIH.
_ILL_TRAIN_VAL, _ILL_TEST = 0.51, 0.60


@dataclass(frozen=True, slots=True)
class Population:
    """All images in file order, and the patients of the test part."""

    radiographs: tuple[RadiographSpec, ...]
    test_patients: frozenset[int]

    def part(self, *, test: bool) -> tuple[RadiographSpec, ...]:
        """The images of one part."""
        return tuple(
            spec for spec in self.radiographs if (spec.patient in self.test_patients) == test
        )


def plan_population(
    images: int = DEFAULT_IMAGES, *, seed: int = 0, long_tail: bool = False
) -> Population:
    """Exactly that many images; without drawing any. ValueError below MINIMUM_IMAGES.

    long_tail: whether some findings are rare, as at NIH.
    """
    if images < MINIMUM_IMAGES:
        raise ValueError(f"a demo needs at least {MINIMUM_IMAGES} images, not {images}")
    chance = np.random.default_rng([seed, images])
    bare = [spec for patient in _patients(images, seed, chance) for spec in patient]
    test = _choose_test(bare, chance)
    labeled: list[RadiographSpec] = []
    for is_test, ill in ((False, _ILL_TRAIN_VAL), (True, _ILL_TEST)):
        part = [spec for spec in bare if (spec.patient in test) == is_test]
        findings = assign_findings(part, ill, chance, long_tail)
        labeled += [_with_lesions(*pair) for pair in zip(part, findings, strict=True)]
    labeled.sort(key=lambda spec: spec.file_name)
    return Population(tuple(labeled), test)


def _patients(images: int, seed: int, chance: np.random.Generator) -> list[list[RadiographSpec]]:
    patients: list[list[RadiographSpec]] = []
    left = images
    while left:
        count = min(1 + int(chance.choice(len(_IMAGES_PER_PATIENT), p=_IMAGES_PER_PATIENT)), left)
        patients.append(_follow_ups(seed, len(patients) + 1, count))
        left -= count
    return patients


def _follow_ups(seed: int, patient: int, count: int) -> list[RadiographSpec]:
    """A patient's images without findings; in-patients are mostly taken AP, in bed."""
    chance = np.random.default_rng([seed, patient, Stream.HISTORY])
    age = int(np.clip(chance.normal(49, 17), 8, 90))
    sex: Sex = "M" if chance.uniform() < 0.56 else "F"
    portable = 0.8 if chance.uniform() < 0.35 else 0.15
    radiographs = []
    for follow_up in range(count):
        view: View = "AP" if chance.uniform() < portable else "PA"
        radiographs.append(RadiographSpec(seed, patient, follow_up, age, sex, view))
        age += int(chance.choice(4, p=(0.55, 0.28, 0.12, 0.05)))
    return radiographs


def _choose_test(bare: list[RadiographSpec], chance: np.random.Generator) -> frozenset[int]:
    """Patients until a quarter of the images is reached; those with more images sooner."""
    numbers, counts = np.unique([spec.patient for spec in bare], return_counts=True)
    order = np.argsort(-(chance.uniform(size=len(numbers)) ** (1 / counts**0.7)))
    enough = np.searchsorted(np.cumsum(counts[order]), _TEST_FRACTION * len(bare)) + 1
    return frozenset(numbers[order[:enough]].tolist())


def _with_lesions(spec: RadiographSpec, findings: tuple[str, ...]) -> RadiographSpec:
    """Severities: a patient's own level for each finding, changing a little between images."""
    count = len(FINDINGS)
    levels: Numbers = patient_chance(spec, Stream.HISTORY).beta(1.3, 1.3, count)
    changes: Numbers = image_chance(spec, Stream.HISTORY).normal(0, 0.12, count)
    severities = dict(zip(FINDINGS, np.clip(levels + changes, 0, 1).tolist(), strict=True))
    lesions = tuple(Lesion(finding, severities[finding]) for finding in findings)
    return replace(spec, lesions=lesions)

"""What a synthetic radiograph is made from, and what rendering it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]
Curves = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int_]
Pixels = npt.NDArray[np.uint8]
Chance = np.random.Generator
Point = tuple[float, float]
Range = tuple[float, float]  # drawn from uniformly

Sex = Literal["M", "F"]
View = Literal["PA", "AP"]

# As seen by the reader: the patient's right lung is on the left of the image.
RIGHT, LEFT = -1, 1


@dataclass(frozen=True, slots=True)
class Lesion:
    """One finding of one image; severity runs from 0 (subtle) to 1 (gross)."""

    finding: str
    severity: float


@dataclass(frozen=True, slots=True)
class Machine:
    """How an X-ray machine shows a body: gray is fog + gain x density^gamma, from 0 to 1."""

    gamma: Range = (0.85, 1.25)
    gain: float = 1.12  # mean; the SD is 0.07
    fog: Range = (0.0, 0.05)
    grain: Range = (0.8, 1.8)  # SD of the noise in gray levels of 255, at full density
    collimated: float = 0.2  # probability that a border is cut
    margin: float = 0.05  # widest cut, as a fraction of the side
    magnification: Range = (1.0, 1.13)


@dataclass(frozen=True, slots=True)
class RadiographSpec:
    """Everything that decides one image."""

    seed: int
    patient: int
    follow_up: int
    age: int
    sex: Sex
    view: View
    lesions: tuple[Lesion, ...] = ()
    machine: Machine = Machine()

    @property
    def file_name(self) -> str:
        """NIH's name: eight digits of patient, three of follow-up."""
        return f"{self.patient:08d}_{self.follow_up:03d}.png"


@dataclass(frozen=True, slots=True)
class Box:
    """Where a finding lies: top left corner and extent, as fractions of the image."""

    finding: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What an image shows besides its anatomy: boxes of findings, and whether there is a device."""

    boxes: tuple[Box, ...]
    has_device: bool  # a pacemaker, or leads on the chest


@dataclass(frozen=True, slots=True)
class Rendered:
    """The image, uint8 (size, size), and what it shows."""

    pixels: Pixels
    shown: Shown


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital: whom it sees, on which machine, and how it writes its findings down.

    The defaults are those of the first site, which resembles NIH.
    """

    layout: Literal["nih", "csv"] = "nih"
    machine: Machine = Machine()
    patients_before: int = 0  # patients are numbered from the next one
    age: float = 49  # mean, years
    bedridden: float = 0.35  # share of patients who are mostly taken AP, in bed
    # fractions of images with a finding, outside and inside the test split
    ill: tuple[float, float] = (0.51, 0.60)
    test_fraction: float = 0.25
    # factors of the findings' prevalences; 0: never drawn, and unknown to its table
    frequency: Mapping[str, float] = field(default_factory=dict)
    # columns of a CSV table, and the findings of NIH that each stands for
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Stream(IntEnum):
    """Independent sources of chance, so that adding one thing leaves the rest unchanged."""

    HABITUS = 1
    VESSELS = 2
    CONFUSERS = 3
    POSITION = 4
    EXPOSURE = 5
    TEXTURE = 6
    LESION = 7
    HISTORY = 8
    REPORT = 9


def patient_chance(spec: RadiographSpec, stream: Stream, index: int = 0) -> Chance:
    """Chance that is the same at every follow-up of a patient."""
    return np.random.default_rng([spec.seed, spec.patient, stream, index])


def image_chance(spec: RadiographSpec, stream: Stream) -> Chance:
    """Chance that differs between the follow-ups of a patient."""
    return np.random.default_rng([spec.seed, spec.patient, spec.follow_up, stream, 1])

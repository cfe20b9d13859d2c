"""What a synthetic radiograph is made from, and what rendering it gives."""

from dataclasses import dataclass
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
class RadiographSpec:
    """Everything that decides one image."""

    seed: int
    patient: int
    follow_up: int
    age: int
    sex: Sex
    view: View
    lesions: tuple[Lesion, ...] = ()

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
class Rendered:
    """The image, uint8 (size, size), and the boxes of its findings."""

    pixels: Pixels
    boxes: tuple[Box, ...]


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


def patient_chance(spec: RadiographSpec, stream: Stream, index: int = 0) -> Chance:
    """Chance that is the same at every follow-up of a patient."""
    return np.random.default_rng([spec.seed, spec.patient, stream, index])


def image_chance(spec: RadiographSpec, stream: Stream) -> Chance:
    """Chance that differs between the follow-ups of a patient."""
    return np.random.default_rng([spec.seed, spec.patient, spec.follow_up, stream, 1])

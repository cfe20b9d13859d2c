"""One image of the source to the pixels of every size that is wanted; run in threads."""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.dicom import study_of
from deepchest_cli.data.image_checks import NEARLY_CONSTANT, pixel_hash_of
from deepchest_cli.data.images import Embedded, Place
from deepchest_cli.data.radiograph import Opened, fit, open_image, refuse_constant
from deepchest_cli.errors import UnreadableRadiographError

MISSING = "the file is missing"


Payload = Place | Embedded | bytes | NDArray[np.uint8]


@dataclass(frozen=True)
class Stored:
    """An image as it is stored at one size."""

    pixels: NDArray[np.uint8]  # (S, S)
    pixel_hash: bytes
    nearly_constant: bool


@dataclass(frozen=True)
class Decoded:
    """An image at each wanted size, or why there is none."""

    stored: dict[int, Stored]  # by size
    width: int  # of the source's file, pixels
    height: int
    length: int  # of the source's file, bytes; 0: an array
    reason: str  # empty when it could be read
    study: str = ""  # StudyInstanceUID of a DICOM file


def available_cores() -> int:
    """Return how many cores this process may use; a batch system gives a job some of a machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode_payload(payload: Payload, sizes: tuple[int, ...], pad: bool) -> Decoded:
    """Return an image's pixels at every size; never raises for what is wrong with the image."""
    try:
        opened, length = _open(payload)
        image, study = opened.image, study_of(opened.tags)
        stored = {size: _store(fit(image, size, pad)) for size in sizes}
    except UnreadableRadiographError as error:
        inside = f" (in {payload.path.name})" if isinstance(payload, Embedded) else ""
        return Decoded({}, 0, 0, 0, error.message + inside)
    except MemoryError:
        return Decoded({}, 0, 0, 0, "it does not fit into memory")
    return Decoded(stored, image.width, image.height, length, "", study)


def _store(pixels: NDArray[np.uint8]) -> Stored:
    spread = float(pixels[::4, ::4].std())  # a sixteenth of the pixels tells as much
    return Stored(pixels, pixel_hash_of(pixels), spread < NEARLY_CONSTANT)


def _open(payload: Payload) -> tuple[Opened, int]:
    if isinstance(payload, np.ndarray):
        image = Image.fromarray(payload).convert("L")
        refuse_constant(image)
        return Opened(image), 0
    data = payload if isinstance(payload, bytes) else payload.read()
    return open_image(data), len(data)

"""What is odd about a picture, apart from what a model says to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.image_checks import NEARLY_CONSTANT
from deepchest_cli.data.radiograph import Opened

# width over height; NIH's originals are from 0.54 to 1.79
NARROWEST, WIDEST = 0.5, 2.0
RADIOGRAPHY = ("CR", "DX", "DR", "RG", "RF", "PX", "XA", "OT", "SC")
CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB", "HEART", "THX", "TRUNK", "BODY")
FRONTAL = ("PA", "AP")
LATERAL = ("LAT", "LL", "RL", "LLO", "RLO", "LLD", "RLD", "LATERAL")
DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "StudyDescription")


@dataclass(frozen=True)
class Oddity:
    """A warning about one image: a word for programs and a sentence for people."""

    code: str
    message: str

    def to_plain(self) -> dict[str, str]:
        """Return the fields."""
        return asdict(self)


def oddities_of(opened: Opened, pixels: NDArray[np.uint8], seen_size: int) -> list[Oddity]:
    """Return what is odd about a picture's file, shape, values (S, S) and DICOM tags.

    seen_size: pixels of the height and width that the network sees.
    """
    found = [*_file_oddities(opened, seen_size), *tag_oddities(opened.tags)]
    spread = float(pixels.std())
    if spread < NEARLY_CONSTANT:
        text = f"almost no contrast (standard deviation {spread:.1f} of 255)"
        found.append(Oddity("blank-image", text))
    return found


def _file_oddities(opened: Opened, seen_size: int) -> list[Oddity]:
    image, found = opened.image, []
    if opened.is_colorful:
        found.append(Oddity("color-image", "a picture in color; radiographs are gray"))
    if opened.frames > 1:
        text = f"{opened.frames} pictures in one file; the first was read"
        found.append(Oddity("multi-frame", text))
    size = f"{image.width} × {image.height} pixels"
    if not NARROWEST <= image.width / image.height <= WIDEST:
        found.append(
            Oddity("unusual-aspect-ratio", f"{size} is an odd shape for a chest radiograph")
        )
    if min(image.width, image.height) < seen_size:
        text = f"{size} is smaller than the {seen_size} that the model sees"
        found.append(Oddity("small", text))
    return found


def tag_oddities(tags: Mapping[str, str]) -> list[Oddity]:
    """Return what DICOM tags say against a frontal radiograph of the chest."""
    found = []
    modality = tags.get("Modality", "").upper()
    if modality and modality not in RADIOGRAPHY:
        found.append(Oddity("modality", f"DICOM modality {modality} is not plain radiography"))
    part = tags.get("BodyPartExamined", "").upper()
    if part and not any(word in part for word in CHEST):
        found.append(Oddity("body-part", f"DICOM body part {part} is not the chest"))
    view = tags.get("ViewPosition", "").upper()
    if view and not view.startswith(FRONTAL):
        found.append(Oddity("view", f"DICOM view {view} is not frontal (PA or AP)"))
    elif not view and (name := _lateral_by_description(tags)):
        found.append(Oddity("view", f"DICOM calls it {name!r}, which is not a frontal view"))
    return found


def _lateral_by_description(tags: Mapping[str, str]) -> str:
    for name in DESCRIPTIONS[:2]:
        words = tags.get(name, "").upper().replace(",", " ").replace("_", " ").split()
        if any(word in LATERAL for word in words) and not any(word in FRONTAL for word in words):
            return tags[name]
    return ""

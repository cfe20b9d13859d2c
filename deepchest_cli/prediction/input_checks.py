"""Checks of an input image: its file, shape and DICOM tags, and how familiar it is to a model."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.image_checks import NEARLY_CONSTANT
from deepchest_cli.data.radiograph import Opened
from deepchest_cli.model.reference import Reference, find_image
from deepchest_cli.prediction.model_metadata import ModelMetadata
from deepchest_cli.reporting.numbers import distinguished

# width over height; NIH's originals are from 0.54 to 1.79
NARROWEST, WIDEST = 0.5, 2.0
RADIOGRAPHY = ("CR", "DX", "DR", "RG", "RF", "PX", "XA", "OT", "SC")
CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "RIB", "HEART", "THX", "TRUNK", "BODY")
FRONTAL = ("PA", "AP")
LATERAL = ("LAT", "LL", "RL", "LLO", "RLO", "LLD", "RLD", "LATERAL")
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
INVERTED = -0.3  # correlation with the mean radiograph; upright images have above 0.3
TRAINING_IMAGE_WARNINGS = {  # by what `TrainingImages.find` returns
    "train": ("in-training-set", "the image was in the model's training data"),
    "validation": ("in-validation-set", "the image was in the model's validation data"),
    "name": ("name-in-training-set", "a file of this name was in the model's training data"),
}


@dataclass(frozen=True)
class InputWarning:
    """A warning about one image: a code for programs and a sentence for people."""

    code: str
    message: str


def check_image(opened: Opened, pixels: NDArray[np.uint8], image_size: int) -> list[InputWarning]:
    """Return warnings about an image's file, shape, stored pixels (S, S) and DICOM tags.

    image_size: pixels of the height and width that the network sees.
    """
    found = [*_check_file(opened, image_size), *check_tags(opened.tags)]
    spread = float(pixels.std())
    if spread < NEARLY_CONSTANT:
        text = f"almost no contrast (standard deviation {spread:.1f} of 255)"
        found.append(InputWarning("blank-image", text))
    return found


def _check_file(opened: Opened, image_size: int) -> list[InputWarning]:
    image, found = opened.image, {}
    if opened.is_colorful:
        found["color-image"] = "a color image; radiographs are gray"
    if opened.frames > 1:
        found["multi-frame"] = f"{opened.frames} images in one file; the first was read"
    size = f"{image.width} × {image.height} pixels"
    if not NARROWEST <= image.width / image.height <= WIDEST:
        found["unusual-aspect-ratio"] = f"{size} is an unusual aspect ratio for a chest radiograph"
    if min(image.width, image.height) < image_size:
        found["small"] = f"{size} is smaller than the {image_size} that the model sees"
    return [InputWarning(*one) for one in found.items()]


def check_tags(tags: Mapping[str, str]) -> list[InputWarning]:
    """Return what DICOM tags say against a frontal radiograph of the chest."""
    found = {}
    modality = tags.get("Modality", "").upper()
    if modality and modality not in RADIOGRAPHY:
        found["modality"] = f"DICOM modality {modality} is not plain radiography"
    part = tags.get("BodyPartExamined", "").upper()
    if part and not any(word in part for word in CHEST):
        found["body-part"] = f"DICOM body part {part} is not the chest"
    view = tags.get("ViewPosition", "").upper()
    if view and not view.startswith(FRONTAL):
        found["view"] = f"DICOM view {view} is not frontal (PA or AP)"
    elif not view and (name := lateral_by_description(tags)):
        found["view"] = f"DICOM calls it {name!r}, which is not a frontal view"
    return [InputWarning(*one) for one in found.items()]


def lateral_by_description(tags: Mapping[str, str]) -> str:
    """Return the description that calls an image lateral; nothing where none does."""
    for name in DESCRIPTIONS:
        words = tags.get(name, "").upper().replace(",", " ").replace("_", " ").split()
        if any(word in LATERAL for word in words) and not any(word in FRONTAL for word in words):
            return tags[name]
    return ""


def feature_distance(reference: Reference, features: NDArray[np.float32]) -> dict[str, float]:
    """Return how far an image's features (D,) are from the training radiographs'."""
    return {
        "value": float(reference.distances(features[None])[0]),
        "threshold": reference.threshold,
        "false_warning_rate": reference.false_warning_rate,
    }


def check_familiarity(
    metadata: ModelMetadata, pixels: NDArray[np.uint8], distance: dict[str, float] | None, name: str
) -> list[InputWarning]:
    """Return how stored pixels (S, S) differ from a model's training images, or that they are one.

    distance: from `feature_distance`, None where it is not to be checked; name: of the file.
    """
    found: list[InputWarning] = []
    reference = metadata.reference
    if reference is not None:
        if distance is not None and distance["value"] > reference.threshold:
            found.append(_atypical_features(reference, distance["value"]))
        found += _check_appearance(reference, reference.correlation(pixels))
    where = find_image(metadata.training_images or (), pixels, name)
    return [*found, InputWarning(*TRAINING_IMAGE_WARNINGS[where])] if where else found


def _atypical_features(reference: Reference, value: float) -> InputWarning:
    found, threshold = distinguished(value, reference.threshold, 2)
    text = (
        f"unlike the training radiographs: feature distance {found}, above {threshold}, "
        f"which at most {reference.false_warning_rate:.1%} of radiographs like those exceed"
    )
    return InputWarning("atypical-features", text)


def _check_appearance(reference: Reference, correlation: float) -> list[InputWarning]:
    """Return what a correlation with the mean training radiograph says."""
    if correlation >= reference.min_correlation:
        return []
    if correlation < INVERTED:
        text = (
            f"bright where chest radiographs are dark (correlation {correlation:.2f} with their "
            "mean): probably inverted"
        )
        return [InputWarning("inverted", text)]
    found, least = distinguished(correlation, reference.min_correlation, 2)
    text = (
        f"appearance unlike the training radiographs (correlation {found} with their mean; at most "
        f"{reference.false_warning_rate:.1%} of radiographs like those have below {least}): "
        "rotated, cropped, another view, or no chest"
    )
    return [InputWarning("atypical-appearance", text)]

"""What a model's predictions rest on besides its weights, in plain values."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepchest_cli.config.renamed import with_current_keys
from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.reference import Reference, TrainingImages

FORMAT = "deepchest-exported-model"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, FORMAT_VERSION)  # 1: of deepchest 0.1
ARRAY = "base64"


@dataclass(frozen=True)
class Preprocessing:
    """How an image is brought to the stored pixels that a model was trained on."""

    size: int  # pixels
    pad: bool


@dataclass(frozen=True)
class ModelMetadata:
    """What a model predicts, what its input is, and how its logits become probabilities."""

    identity: dict[str, Any]  # as a prediction names its model
    findings: tuple[str, ...]
    image_size: int  # pixels that the network sees
    preprocessing: Preprocessing
    mean: float  # of gray values from 0 to 1
    std: float
    validation_fit: dict[str, Any] | None  # thresholds and calibration, where they were chosen
    reference: Reference | None
    training_images: tuple[TrainingImages, ...] | None  # of each data set of training
    data_sets: tuple[str, ...] = ()  # names of those of training, where they are known

    def to_json(self) -> str:
        """Return a document that every program can read."""
        images = self.training_images
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": self.identity,
            "findings": list(self.findings),
            "preprocessing": {
                "input": "uint8 (batch, stored_size, stored_size), grayscale, 0 is black",
                "stored_size": self.preprocessing.size,
                "resampling": "bilinear, antialiased; aspect "
                + ("kept, on black" if self.preprocessing.pad else "not kept"),
                "pad": self.preprocessing.pad,
                "image_size": self.image_size,
                "mean": self.mean,
                "std": self.std,
                "in_graph": "resizing to image_size, division by 255, (x - mean) / std",
            },
            "validation_fit": self.validation_fit,
            "reference": None if self.reference is None else self.reference.to_plain(),
            "training_images": images and [one.to_plain() for one in images],
            "data_sets": list(self.data_sets),
        }
        return json.dumps(document, default=_array, sort_keys=True)

    @staticmethod
    def from_json(text: str, identity: dict[str, Any], where: object) -> "ModelMetadata":
        """Return what `to_json` gave, of version 0.1 too; `identity` says which file it now is.

        Raises `DeepChestError` for another version and for what is damaged.
        """
        try:
            document = json.loads(text, object_hook=_maybe_array)
            version = document["format_version"]
            if document["format"] != FORMAT or version not in READABLE_VERSIONS:
                raise DeepChestError(
                    f"{where} is of format version {version!r}; this program reads version "
                    f"{FORMAT_VERSION}.",
                    "Export the checkpoint again: deepchest export",
                )
            document = with_current_keys(document) if version == 1 else document
            shape, reference = document["preprocessing"], document["reference"]
            images = document["training_images"]
            images = [images] if isinstance(images, dict) else images  # of one data set alone
            _refuse_other_types(document, shape)
            return ModelMetadata(
                identity={**document["identity"], **identity},
                findings=tuple(document["findings"]),
                image_size=shape["image_size"],
                preprocessing=Preprocessing(shape["stored_size"], shape["pad"]),
                mean=shape["mean"],
                std=shape["std"],
                validation_fit=document["validation_fit"],
                reference=None if reference is None else Reference.from_plain(reference),
                training_images=tuple(map(TrainingImages.from_plain, images)) if images else None,
                data_sets=tuple(document.get("data_sets", ())),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeepChestError(
                f"The metadata of {where} is damaged: {error!r}.",
                "Export the checkpoint again: deepchest export",
            ) from error


def _refuse_other_types(document: dict[str, Any], shape: dict[str, Any]) -> None:
    """Raise for values that would only fail later."""
    if not {"synthetic", "findings"} <= document["identity"].keys():
        raise KeyError("identity")
    if not all(isinstance(shape[name], int) for name in ("image_size", "stored_size")):
        raise TypeError("preprocessing")
    if not isinstance(document["validation_fit"], dict | None):
        raise TypeError("validation_fit")


def _array(value: Any) -> dict[str, Any]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} is no plain value")
    little = value.astype(value.dtype.newbyteorder("<"))
    text = base64.b64encode(little.tobytes()).decode()
    return {ARRAY: text, "dtype": little.dtype.str, "shape": list(value.shape)}


def _maybe_array(values: dict[str, Any]) -> Any:
    if values.keys() != {ARRAY, "dtype", "shape"}:
        return values
    flat = np.frombuffer(base64.b64decode(values[ARRAY]), dtype=values["dtype"])
    return flat.reshape(values["shape"])

"""All that a model's answers rest on besides its weights, in plain values."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepchest_cli.errors import DeepChestError
from deepchest_cli.model.reference import Reference, SeenImages
from deepchest_cli.prediction.reading import Frame

FORMAT = "deepchest-exported-model"
FORMAT_VERSION = 1
ARRAY = "base64"


@dataclass(frozen=True)
class Knowledge:
    """What a model is asked about and how its logits become answers."""

    identity: dict[str, Any]  # as an answer names its model
    findings: tuple[str, ...]
    image_size: int  # pixels that the network sees
    frame: Frame  # how a picture is stored before
    mean: float  # of gray values from 0 to 1
    deviation: float
    choices: dict[str, Any] | None  # thresholds and calibration, where they were chosen
    reference: Reference | None
    seen: SeenImages | None

    def to_json(self) -> str:
        """Return a document that every program can read."""
        document = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "identity": self.identity,
            "findings": list(self.findings),
            "preprocessing": {
                "input": "uint8 (batch, stored_size, stored_size), grayscale, 0 is black",
                "stored_size": self.frame.size,
                "resampling": "bilinear, antialiased; aspect "
                + ("kept, on black" if self.frame.pad else "not kept"),
                "pad": self.frame.pad,
                "image_size": self.image_size,
                "mean": self.mean,
                "deviation": self.deviation,
                "in_graph": "resizing to image_size, division by 255, (x - mean) / deviation",
            },
            "choices": self.choices,
            "reference": None if self.reference is None else self.reference.to_plain(),
            "seen": None if self.seen is None else self.seen.to_plain(),
        }
        return json.dumps(document, default=_array, sort_keys=True)

    @staticmethod
    def from_json(text: str, identity: dict[str, Any], where: object) -> "Knowledge":
        """Return what `to_json` gave; `identity` says which file it now is.

        Raises `DeepChestError` for another version and for what is damaged.
        """
        try:
            document = json.loads(text, object_hook=_maybe_array)
            version = document["format_version"]
            if document["format"] != FORMAT or version != FORMAT_VERSION:
                raise DeepChestError(
                    f"{where} is of format version {version!r}; this program reads version "
                    f"{FORMAT_VERSION}.",
                    "Export the checkpoint again: deepchest export",
                )
            shape, reference, seen = (document[k] for k in ("preprocessing", "reference", "seen"))
            _refuse_other_types(document, shape)
            return Knowledge(
                {**document["identity"], **identity},
                tuple(document["findings"]),
                shape["image_size"],
                Frame(shape["stored_size"], shape["pad"]),
                shape["mean"],
                shape["deviation"],
                document["choices"],
                None if reference is None else Reference.from_plain(reference),
                None if seen is None else SeenImages.from_plain(seen),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeepChestError(
                f"What {where} says about itself is damaged: {error!r}.",
                "Export the checkpoint again: deepchest export",
            ) from error


def _refuse_other_types(document: dict[str, Any], shape: dict[str, Any]) -> None:
    """Raise for values that would only be stumbled over later."""
    if not {"synthetic", "findings"} <= document["identity"].keys():
        raise KeyError("identity")
    if not all(isinstance(shape[name], int) for name in ("image_size", "stored_size")):
        raise TypeError("preprocessing")
    if not isinstance(document["choices"], dict | None):
        raise TypeError("choices")


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

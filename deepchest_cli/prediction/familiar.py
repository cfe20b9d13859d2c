"""Whether a model knows such pictures, or this very one."""

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.model.reference import Reference
from deepchest_cli.prediction.knowledge import Knowledge
from deepchest_cli.prediction.oddities import Oddity
from deepchest_cli.reporting.numbers import distinguished

INVERTED = -0.3  # correlation with the mean radiograph; upright ones that are not have above 0.3
SEEN = {
    "train": "was in the model's training data: its answer is remembered, not predicted",
    "validation": "was in the validation data that the model was chosen by",
    "name": "a file of this name was in the model's training data",
}


def distance_of(reference: Reference, features: NDArray[np.float32]) -> dict[str, float]:
    """Return how far an image's features (D,) are from the training radiographs'."""
    return {
        "value": float(reference.distances(features[None])[0]),
        "threshold": reference.threshold,
        "false_warning_rate": reference.false_warnings,
    }


def familiarity(
    knowledge: Knowledge, pixels: NDArray[np.uint8], distance: dict[str, float] | None, name: str
) -> list[Oddity]:
    """Return what is odd about stored pixels (S, S) in the eyes of a model."""
    found = []
    reference = knowledge.reference
    if reference is not None and distance is not None and distance["value"] > reference.threshold:
        found.append(Oddity("atypical-features", _unlike(reference, distance["value"])))
    if reference is not None:
        found += _shape(reference, reference.correlation(pixels))
    seen = "" if knowledge.seen is None else knowledge.seen.find(pixels, name)
    if seen:
        code = {"name": "name-in-training-set", "train": "in-training-set"}
        found.append(Oddity(code.get(seen, f"in-{seen}-set"), SEEN[seen]))
    return found


def _unlike(reference: Reference, value: float) -> str:
    found, threshold = distinguished(value, reference.threshold, 2)
    return (
        f"unlike the training radiographs: distance {found}, above {threshold}, "
        f"which at most {reference.false_warnings:.1%} of radiographs like those exceed"
    )


def _shape(reference: Reference, correlation: float) -> list[Oddity]:
    """Return what a correlation with the mean training radiograph says."""
    if correlation >= reference.likeness:
        return []
    if correlation < INVERTED:
        text = (
            f"bright where chest radiographs are dark (correlation {correlation:.2f} with their "
            "mean): probably inverted"
        )
        return [Oddity("inverted", text)]
    found, likeness = distinguished(correlation, reference.likeness, 2)
    text = (
        f"not the shape of the training radiographs (correlation {found} with their "
        f"mean, which at most {reference.false_warnings:.1%} of radiographs like those have below "
        f"{likeness}): turned, cropped, another view, or no chest"
    )
    return [Oddity("atypical-appearance", text)]

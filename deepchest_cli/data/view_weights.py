"""Weights of views in the mean over the images of a study or patient, as `--view-weight` has them.

A lateral radiograph often says less about a finding than a frontal one, and models that were
trained on frontal ones alone say little about it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.tabular.cells import UNKNOWN_VIEWS, is_blank, view_of
from deepchest_cli.errors import UsageError, unknown_name

FLAG = "--view-weight"
UNKNOWN = "unknown"  # how an image without a view is named
DEFAULT = 1.0  # weight of a view that is not named


@dataclass(frozen=True)
class ViewWeights:
    """The weights of some views, as shards spell them; all others weigh 1."""

    by_view: dict[str, float] = field(default_factory=dict)

    def of(self, views: NDArray[np.str_]) -> NDArray[np.float64]:
        """Return the weight of each image (N,), by its view."""
        names, places = np.unique(views, return_inverse=True)
        weights = [self.by_view.get(name, DEFAULT) for name in names.tolist()]
        return np.array(weights, dtype=np.float64)[places.reshape(-1)]

    def refuse_absent(self, views: Iterable[str]) -> None:
        """Raise `UsageError` for a view that no image has; views: those of the images."""
        present = set(views)
        for view in self.by_view.keys() - present:
            named = sorted(name or UNKNOWN for name in present)
            raise unknown_name(f"view of {FLAG}:", view or UNKNOWN, named)

    def to_plain(self) -> dict[str, float]:
        """Return the weights by the views' names."""
        return {view or UNKNOWN: weight for view, weight in self.by_view.items()}


def read_view_weights(texts: Sequence[str]) -> ViewWeights:
    """Return the weights of `lateral=0.5`, `PA=1`, a view in any of its spellings.

    Raises `UsageError` for what is no view, a view that is named twice, and a weight that is not a
    number from 0.
    """
    weights: dict[str, float] = {}
    for text in texts:
        name, separator, number = text.rpartition("=")
        if not separator or is_blank(name):
            raise UsageError(f"{FLAG} takes VIEW=WEIGHT, such as lateral=0.5. Found {text!r}.")
        view = view_of(name)
        if not view and name.strip().upper() not in UNKNOWN_VIEWS:
            raise UsageError(
                f"{FLAG}: {name.strip()!r} is no single view.",
                f"Views are PA, AP, lateral, {UNKNOWN} (not named) and others as the data spell "
                "them.",
            )
        if view in weights:
            raise UsageError(
                f"{FLAG} names the view {view or UNKNOWN} twice.", "Give each view one weight."
            )
        weights[view] = _weight(name.strip(), number)
    return ViewWeights(weights)


def _weight(view: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(
            f"{FLAG} {view}: the weight should be a number from 0. Found {text!r}.",
            "0 leaves the images of a view out of the mean.",
        )
    return weight

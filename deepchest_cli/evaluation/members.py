"""What the images of a unit have together: means, marks and texts, from N images to M units."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Members:
    """Which unit each of N images belongs to, of M units."""

    unit_of: NDArray[np.int64]  # (N,)
    units: int

    def weighted_means(
        self, values: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the means (M, T) of values (N, T) from 0 to 1, and which units have a weight."""
        total = np.bincount(self.unit_of, weights, self.units)
        kept = total > 0
        # shares first, so that the mean of one image is that image to the last bit
        shares = weights / np.where(kept, total, 1)[self.unit_of]
        means = np.zeros((self.units, values.shape[1]))
        np.add.at(means, self.unit_of, shares[:, None] * values)  # in the order of the images
        return means.clip(0, 1), kept  # the shares' sum may be 1 but for rounding

    def any_of(self, marks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which units have a marked image (M, T); marks: (N, T)."""
        found = np.zeros((self.units, marks.shape[1]), dtype=bool)
        np.logical_or.at(found, self.unit_of, marks)
        return found

    def mean_age(self, age: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of the known ages (M,); NaN without one."""
        known = np.isfinite(age)
        count = np.bincount(self.unit_of[known], minlength=self.units)
        total = np.bincount(self.unit_of[known], age[known], self.units)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def texts(
        self, values: NDArray[np.str_], combine: Callable[[list[str]], str]
    ) -> NDArray[np.str_]:
        """Return a text for each unit (M,), of the different ones of its images, sorted."""
        found: list[list[str]] = [[] for _ in range(self.units)]
        for unit, value in sorted(set(zip(self.unit_of.tolist(), values.tolist(), strict=True))):
            if value:
                found[unit].append(value)
        return np.array([combine(one) for one in found], dtype=str)


def the_only(values: list[str]) -> str:
    """Return the text that all images of a unit have; empty where there are several or none."""
    return values[0] if len(values) == 1 else ""


def joined(values: list[str]) -> str:
    """Return all texts of a unit's images in one, such as PA+L."""
    return "+".join(reversed(values))  # PA before L and AP

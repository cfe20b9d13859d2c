"""Whose images chose a model's thresholds and calibration; needs no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import count_of

ALL = "all"


def splits_of(named: str) -> tuple[str, ...]:
    """Return the splits that a name such as `train+validation` or `all` stands for."""
    return SPLITS if named == ALL else tuple(named.split("+"))


def of_data_sets(names: Sequence[str], carried_over: Sequence[str] = ()) -> str:
    """Return whose images they are of several data sets of training; empty of a single one.

    carried_over: findings for which a data set has what all of them chose together.
    """
    if not names:
        return ""
    others = f" ({', '.join(carried_over)}: of all data sets)" if carried_over else ""
    return f" of {' and '.join(names)}{others}"


@dataclass(frozen=True)
class Site:
    """The section `site` of a validation fit that `deepchest recalibrate` chose."""

    name: str
    images: int  # 0: not known
    patients: int
    data: str  # the folder of shards, or the file of labels
    sha256: str  # of the manifest, or of the file
    split: str
    findings: tuple[str, ...]  # chosen on its images; those of the others are carried over

    def images_named(self, findings: Iterable[str]) -> str:
        """Return the images in words, and which of a model's findings are carried over."""
        split = "" if self.split == ALL else f"{self.split} "
        counted = count_of(self.images, f"{split}image") if self.images else "images"
        images = f"{counted} of {self.name}"
        others = ", ".join(name for name in findings if name not in self.findings)
        return f"{images} (carried over from the model before: {others})" if others else images

    def to_plain(self) -> dict[str, Any]:
        """Return values that every version of torch loads safely."""
        return {**vars(self), "findings": list(self.findings)}

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> "Site":
        """Return what `to_plain` gave."""
        return Site(**{**values, "findings": tuple(values["findings"])})

"""Whether two data sets are about the same patients, and whether they are split alike."""

from typing import Any

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.sources.nih_metadata import SPLIT_LISTS

FAMILY = {"chestmnist": "nih"}  # made from NIH's radiographs: the same patients
# settings that decide which patient stands in which split
SPLIT_SETTINGS = ("split_scheme", "validation_fraction", "test_fraction", "seed")

Source = dict[str, Any]  # of a manifest


def same_patients(one: Source, other: Source) -> bool:
    """Whether two sources are about the same patients.

    Tables of one's own and synthetic radiographs are so only where they share a file.
    """
    if (_family(one), one["synthetic"]) != (_family(other), other["synthetic"]):
        return False
    if one["kind"] != "csv" and not one["synthetic"]:
        return True
    return bool(set(one["sha256"].values()) & set(other["sha256"].values()))


def same_numbers(one: Source, other: Source) -> bool:
    """Whether two sources also number their patients alike."""
    named = one.get("patients") and other.get("patients")
    return bool(named) and one["kind"] == other["kind"] and same_patients(one, other)


def may_share_images(one: Source, other: Source) -> bool:
    """Whether an image of one source may be in the other: equal names then say something.

    A table of one's own may hold anybody's images; synthetic ones are named as NIH's are.
    """
    synthetic = {is_synthetic(one), is_synthetic(other)}
    return same_patients(one, other) or (
        "csv" in (one["kind"], other["kind"]) and not {True, False} <= synthetic
    )


def is_synthetic(source: Source) -> bool | None:
    """Whether a source's radiographs are synthetic; None: a table of one's own does not say."""
    synthetic: bool = source["synthetic"]
    return None if source["kind"] == "csv" and not synthetic else synthetic


def split_changes(origin: dict[str, Any], dataset: RadiographDataset, split: str) -> list[str]:
    """Return what makes the split of a data set another one than a model's; empty: it fits.

    `origin` is that of the checkpoint: the source and the settings of its data. Fit are the same
    split of the same source, NIH's official test split, and the patients of another source.
    """
    trained, found = origin["source"], dataset.manifest["source"]
    if not same_patients(trained, found):
        return []
    settings = dataset.manifest["settings"]
    official = origin["settings"]["split_scheme"] == settings["split_scheme"] == "official"
    test_list = SPLIT_LISTS["test"]
    same_test = trained["sha256"].get(test_list) == found["sha256"].get(test_list)
    if official and split == "test" and same_test:
        return []
    changed = [key for key in SPLIT_SETTINGS if origin["settings"][key] != settings[key]]
    return [*changed, "source"] if trained["sha256"] != found["sha256"] else changed


def is_own(origin: dict[str, Any], dataset: RadiographDataset) -> bool:
    """Whether a data set is the very one of a model, split the same way (folds differ)."""
    settings = dataset.manifest["settings"]
    alike = all(origin["settings"].get(key) == settings.get(key) for key in SPLIT_SETTINGS)
    return alike and origin["data_sha256"] == dataset.sha256


def _family(source: Source) -> str:
    """Return whose patients a source has."""
    kind: str = source["kind"]
    return FAMILY.get(kind, kind)

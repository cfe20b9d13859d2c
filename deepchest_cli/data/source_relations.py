"""Which prepared data sets are about the same patients, by what manifests say of their source."""

from typing import Any

# made from NIH's radiographs: the same patients, whatever the files are called
FAMILY = dict.fromkeys(("nih-parquet", "chestmnist", "rsna", "siim"), "nih")

Source = dict[str, Any]  # of a manifest


def same_patients(one: Source, other: Source) -> bool:
    """Whether two sources are about the same patients.

    Users' own tables and synthetic radiographs are only where they share a file.
    """
    if not _families(one) & _families(other) or one["synthetic"] != other["synthetic"]:
        return False
    if one["kind"] != "csv" and not one["synthetic"]:
        return True
    return bool(set(one["sha256"].values()) & set(other["sha256"].values()))


def _families(source: Source) -> set[str]:
    """Return where the patients of a source come from; a published model may have several."""
    kinds = source.get("kinds", [source["kind"]])
    return {FAMILY.get(kind, kind) for kind in kinds}


def same_patient_numbers(one: Source, other: Source) -> bool:
    """Whether two sources also number their patients alike."""
    named = one.get("patients") and other.get("patients")
    alike = one["kind"] == other["kind"] or {one["kind"], other["kind"]} == {"nih", "nih-parquet"}
    return bool(named) and alike and same_patients(one, other)


def names_are_comparable(one: Source, other: Source) -> bool:
    """Whether an image of one source may be in the other, so that equal names mean something.

    A user's own table may hold anybody's images; synthetic ones are named as NIH's are.
    """
    synthetic = {is_synthetic(one), is_synthetic(other)}
    return same_patients(one, other) or (
        "csv" in (one["kind"], other["kind"]) and not {True, False} <= synthetic
    )


def is_synthetic(source: Source) -> bool | None:
    """Whether a source's radiographs are synthetic; None: a user's own table does not say."""
    synthetic: bool = source["synthetic"]
    return None if source["kind"] == "csv" and not synthetic else synthetic

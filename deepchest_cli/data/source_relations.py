"""Which prepared data sets are about the same patients, by what manifests say of their source."""

from typing import Any

# made from NIH's radiographs: the same patients, whatever the files are called
FAMILY = dict.fromkeys(("nih-parquet", "chestmnist", "rsna", "siim"), "nih")
TITLES = {
    "nih": "NIH ChestX-ray14", "chexpert": "CheXpert", "mimic-cxr": "MIMIC-CXR",
    "padchest": "PadChest", "vindr": "VinDr-CXR", "openi": "OpenI",
}  # fmt: skip

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


def why_same_patients(one: Source, other: Source) -> str:
    """Return what two sources of the same patients have in common, as the end of a sentence."""
    titles = sorted(
        TITLES[family] for family in _families(one) & _families(other) if family in TITLES
    )
    if one["synthetic"] or not titles:
        shared = set(one["sha256"].items()) & set(other["sha256"].items())
        return f"share {', '.join(sorted(name for name, _ in shared)) or 'a file'}"
    kinds = " and ".join(source["kind"] for source in (one, other))
    return f"are made from the same radiographs, those of {' and '.join(titles)} ({kinds})"


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

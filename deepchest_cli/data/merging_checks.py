"""Which data sets may be used together: what two of them share, and where they are unlike."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deepchest_cli.data.dataset import Member, RadiographDataset
from deepchest_cli.data.matching import stem_of
from deepchest_cli.data.source_relations import (
    is_synthetic,
    names_are_comparable,
    same_patient_numbers,
    same_patients,
    why_same_patients,
)
from deepchest_cli.data.splits import SPLITS
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

Ints = NDArray[np.int64]


def refuse_unfit_members(members: Sequence[Member]) -> None:
    """Raise `UsageError` for the same data twice, and for a data set and another made from it."""
    for one, other in combinations(members, 2):
        pair = f"{one.folder} and {other.folder}"
        if one.folder.resolve() == other.folder.resolve() or one.sha256 == other.sha256:
            raise UsageError(f"{pair} are the same data.", "Name each data set once.")
        sources = one.manifest["source"], other.manifest["source"]
        if _same_rows(*sources):
            raise UsageError(
                f"{pair} hold the same radiographs with the same labels "
                f"({one.size} and {other.size} px).",
                "Train on one of them.",
            )
        if same_patients(*sources) and not same_patient_numbers(*sources):
            raise UsageError(
                f"{pair} {why_same_patients(*sources)}, and nothing tells which patient of one is "
                "which of the other: patients of one's training split would be among those that "
                "validate or test.",
                "Train on one of them.",
            )


def _same_rows(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two preparations have the same images, labels and splits; 0.1 did not record it."""
    hashes = [source.get("rows_sha256") for source in (one, other)]
    return hashes[0] is not None and hashes[0] == hashes[1]


@dataclass(frozen=True)
class SharedImages:
    """The images that several members hold, by pixel hash."""

    groups: Ints  # (N,), images of one number have the same pixels; -1: in one member only
    warnings: tuple[str, ...]


def shared_images(merged: RadiographDataset) -> SharedImages:
    """Return which images several members hold.

    Raises `UsageError` for those in different splits.
    """
    _, group = np.unique(merged.pixel_hash, return_inverse=True)
    group = group.reshape(-1)
    there = np.zeros((group.max() + 1, len(merged.members), len(SPLITS)), dtype=bool)
    for place, split in enumerate(SPLITS):
        rows = merged.rows(split)
        there[group[rows], merged.member[rows], place] = True
    warnings = []
    for first, second in combinations(range(len(merged.members)), 2):
        both = there[:, first].any(axis=1) & there[:, second].any(axis=1)
        apart = both & ((there[:, first] | there[:, second]).sum(axis=1) > 1)
        folders = [merged.members[number].folder for number in (first, second)]
        if apart.any():
            ours, theirs = _in_different_splits(
                merged, group == np.flatnonzero(apart)[0], (first, second)
            )
            raise UsageError(
                f"{count_of(int(apart.sum()), 'image is', 'images are')} (by pixel hash) in "
                f"different splits of {folders[0]} and {folders[1]}; the first is {ours} and "
                f"{theirs}.",
                "Take these images out of one of them, or give them the same split.",
            )
        warnings.append(_share_warning(merged, (first, second), int(both.sum())))
    several = there.any(axis=2).sum(axis=1) > 1
    groups = np.where(several[group], group, -1)
    return SharedImages(groups, tuple(filter(None, warnings)))


def _in_different_splits(
    merged: RadiographDataset, same: NDArray[np.bool_], pair: tuple[int, int]
) -> tuple[str, str]:
    """Return one of the `same` images (N,) in the first member, and one in another split of the
    second."""
    splits, names = merged.columns["split"], merged.columns["image_index"]
    ours, theirs = (
        np.flatnonzero(same & (merged.member == number) & (splits != "")) for number in pair
    )
    one, other = next((o, t) for o in ours for t in theirs if splits[o] != splits[t])
    return f"{names[one]} in {splits[one]}", f"{names[other]} in {splits[other]}"


def _share_warning(merged: RadiographDataset, pair: tuple[int, int], equal: int) -> str:
    """Return what is to be known of images that two members share; empty: nothing."""
    folders = " and ".join(str(merged.members[number].folder) for number in pair)
    if equal:
        return (
            f"{count_of(equal, 'image is', 'images are')} (by pixel hash) in both {folders}, in "
            "the same splits: they count twice."
        )
    sources = [merged.members[number].manifest["source"] for number in pair]
    if not names_are_comparable(*sources):
        return ""
    keys = _splits_by_name(merged, pair)
    same = keys[0].keys() & keys[1].keys()
    if not same:
        return ""
    apart = sum(keys[0][name] != keys[1][name] for name in same)
    return (
        f"{count_of(len(same), 'image has', 'images have')} the same name in both {folders}, and "
        f"other pixels ({apart} in different splits): they may be the same radiographs, prepared "
        "otherwise."
    )


def _splits_by_name(merged: RadiographDataset, pair: tuple[int, int]) -> list[dict[str, str]]:
    """Return the split of each image of two members by its name.

    Names have no more of their folders than tell the images of each member apart.
    """
    rows = [np.flatnonzero(merged.member == number) for number in pair]
    splits = [merged.columns["split"][some].tolist() for some in rows]
    names = [
        [stem_of(name).split("/") for name in merged.columns["image_index"][some].tolist()]
        for some in rows
    ]
    for depth in range(1, 1 + max(len(parts) for own in names for parts in own)):
        found = [
            dict(zip(("/".join(parts[-depth:]) for parts in own), split, strict=True))
            for own, split in zip(names, splits, strict=True)
        ]
        if all(len(one) == len(own) for one, own in zip(found, names, strict=True)):
            break
    return found


def tell_patients_apart(merged: RadiographDataset, groups: Ints) -> Ints:
    """Return a number for each image's patient (N,) that no patient of another source has.

    Sources that number their patients alike share their numbers. Patients of different sources of
    whom both have the same radiograph are one patient. groups: of `SharedImages`.
    """
    numbers = merged.columns["source_patient_id"]
    found, patients = np.zeros(len(numbers), dtype=np.int64), 0
    for some in _alike(merged, groups):
        rows = np.isin(merged.member, some)
        unique, found[rows] = np.unique(numbers[rows], return_inverse=True)
        found[rows] += patients
        patients += len(unique)
    shared = np.flatnonzero(groups >= 0)
    if not len(shared):
        return found
    nodes = patients + int(groups.max()) + 1  # each image that is shared joins its patients
    edges = coo_array(
        (np.ones(len(shared)), (found[shared], patients + groups[shared])), shape=(nodes, nodes)
    )
    return np.asarray(connected_components(edges, directed=False)[1][found], dtype=np.int64)


def _alike(merged: RadiographDataset, groups: Ints) -> list[list[int]]:
    """Return the members in sets of those that number their patients alike."""
    several: list[list[int]] = []
    for number, member in enumerate(merged.members):
        source = member.manifest["source"]
        for some in several:
            first = merged.members[some[0]].manifest["source"]
            if same_patient_numbers(first, source) or _agree(merged, groups, some[0], number):
                some.append(number)
                break
        else:
            several.append([number])
    return several


def _agree(merged: RadiographDataset, groups: Ints, one: int, other: int) -> bool:
    """Whether two members name patients, and the same ones for all radiographs that both hold."""
    if not all(merged.members[n].manifest["source"].get("patients") for n in (one, other)):
        return False
    rows = [np.flatnonzero((merged.member == n) & (groups >= 0)) for n in (one, other)]
    _, ours, theirs = np.intersect1d(groups[rows[0]], groups[rows[1]], return_indices=True)
    numbers = merged.columns["source_patient_id"]
    same = numbers[rows[0][ours]] == numbers[rows[1][theirs]]
    return len(same) > 0 and bool(same.all())


def refuse_patients_in_two_splits(merged: RadiographDataset) -> None:
    """Raise `UsageError` where data sets that share patients split them differently."""
    splits, patients = merged.columns["split"], merged.columns["patient_id"]
    there = np.flatnonzero(splits != "")
    order = there[np.argsort(patients[there], kind="stable")]
    patients, ordered, member = patients[order], splits[order], merged.member[order]
    same = patients[1:] == patients[:-1]
    shared = np.unique(patients[1:][same & (member[1:] != member[:-1])])
    apart = same & (ordered[1:] != ordered[:-1]) & np.isin(patients[1:], shared)
    if apart.any():
        one, other = order[:-1][apart][0], order[1:][apart][0]
        folders = [merged.members[merged.member[row]].folder for row in (one, other)]
        found = len(np.unique(patients[1:][apart]))
        raise UsageError(
            f"{count_of(found, 'patient is', 'patients are')} in different splits of data sets "
            f"that share patients; the first, {merged.columns['source_patient_id'][one]}, is in "
            f"{splits[one]} of {folders[0]} and in {splits[other]} of {folders[1]}.",
            "Prepare both with the same splits, or train on one of them.",
        )


DOUBT = ("uncertain", "blank")  # policies that every table has; others are of one kind of source
ASPECTS = {"pad": "padded to a square", "squash": "squashed to a square"}


def unlike_members(members: Sequence[Member]) -> tuple[str, ...]:
    """Return in what the members' images and labels were prepared differently, a sentence each."""
    settings = [member.manifest["settings"] for member in members]
    policies = [member.manifest["source"].get("label_policies", {}) for member in members]
    said: dict[str, list[str | None]] = {
        "Some radiographs are synthetic": [_kind(member) for member in members],
        "The shape of images differs": [ASPECTS[one.get("aspect", "squash")] for one in settings],
        "Views differ": [one.get("views", "frontal") for one in settings],
    }
    for key in dict.fromkeys(key for one in policies for key in one if key in DOUBT):
        said[f"Labels were read differently ({key})"] = [one.get(key) for one in policies]
    warnings = []
    for what, values in said.items():
        if len({value for value in values if value is not None}) > 1:
            pairs = zip(members, values, strict=True)
            each = ", ".join(f"{member.folder}: {value}" for member, value in pairs if value)
            warnings.append(f"{what}: {each}.")
    return tuple(warnings)


def _kind(member: Member) -> str | None:
    synthetic = is_synthetic(member.manifest["source"])
    return None if synthetic is None else "synthetic" if synthetic else "real"

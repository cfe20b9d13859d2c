"""Several prepared data sets as one: findings are the union, patients are told apart by source."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import Boxes, Member, RadiographDataset, open_dataset
from deepchest_cli.data.findings import finding_key
from deepchest_cli.data.source_relations import same_patient_numbers, same_patients
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

Ints = NDArray[np.int64]
Number = TypeVar("Number", np.uint8, np.float32)


def open_datasets(folders: Sequence[str]) -> RadiographDataset:
    """Open folders of shards, several as one; errors as in `open_dataset` and `merge_datasets`."""
    return merge_datasets([open_dataset(Path(folder)) for folder in folders])


def merge_datasets(
    several: Sequence[RadiographDataset], names: Sequence[str] = ()
) -> RadiographDataset:
    """Return the images of several data sets, each of one folder, one data set after the other.

    names: of the data sets, in messages and results; without them, their folders'.

    Findings are the union, by the table of aliases, spelled as the first that has them; a label
    that a data set does not have is unknown. Images are read at the smallest stored size. Raises
    `UsageError` for the same data twice, for different versions of the same images, and for images
    or patients that are in different splits of two data sets.
    """
    if len(several) == 1:
        return several[0]
    names = names or folder_names([dataset.folder for dataset in several])
    number = np.repeat(np.arange(len(several)), [len(dataset.labels) for dataset in several])
    spelled = _spelled_findings(several)
    findings = tuple(dict.fromkeys(name for names in spelled for name in names))
    members = tuple(
        replace(dataset.only, name=name, findings=tuple(own))
        for dataset, name, own in zip(several, names, spelled, strict=True)
    )
    starts = np.cumsum([0, *(len(dataset.labels) for dataset in several)])
    columns = {
        name: np.concatenate([dataset.columns[name] for dataset in several])
        for name in several[0].columns
    }
    columns["source_patient_id"] = columns["patient_id"]
    columns["patient_id"] = _told_apart(members, number, columns["patient_id"])
    merged = RadiographDataset(
        members=members,
        member=number,
        findings=findings,
        size=min(dataset.size for dataset in several),
        labels=_stacked([dataset.labels for dataset in several], spelled, findings, 0),
        known=_stacked([dataset.known for dataset in several], spelled, findings, 0),
        columns=columns,
        pixel_hash=np.concatenate([dataset.pixel_hash for dataset in several]),
        shards=tuple(shard for dataset in several for shard in dataset.shards),
        starts=np.concatenate(
            [d.starts + start for d, start in zip(several, starts, strict=False)]
        ),
        boxes=_all_boxes(several, spelled, starts),
        soft=_all_soft(several, spelled, findings),
    )
    _refuse_patients_in_two_splits(merged)
    return replace(merged, warnings=_shared_images(merged))


def folder_names(folders: Sequence[Path | str]) -> list[str]:
    """Return the names of different folders, with as many of those above as tell them apart.

    None is `all`, which stands for all data sets together in a run's tables.
    """
    paths = [Path(folder).resolve().parts for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names) and "all" not in names:
            break
    return names


def _spelled_findings(several: Sequence[RadiographDataset]) -> list[list[str]]:
    """Return the findings of each data set as the first that has them spells them."""
    spelling: dict[str, str] = {}
    return [
        [spelling.setdefault(finding_key(name), name) for name in dataset.findings]
        for dataset in several
    ]


def _stacked(
    arrays: list[NDArray[Number]],
    spelled: list[list[str]],
    findings: tuple[str, ...],
    missing: float,
) -> NDArray[Number]:
    """Return arrays (n, t) of some findings, one below the other, with columns for all (N, T)."""
    stacked = np.full((sum(map(len, arrays)), len(findings)), missing, dtype=arrays[0].dtype)
    first = 0
    for array, own in zip(arrays, spelled, strict=True):
        stacked[first : first + len(array), [findings.index(name) for name in own]] = array
        first += len(array)
    return stacked


def _all_soft(
    several: Sequence[RadiographDataset], spelled: list[list[str]], findings: tuple[str, ...]
) -> NDArray[np.float32] | None:
    if all(dataset.soft is None for dataset in several):
        return None
    there = [
        np.full(dataset.labels.shape, np.nan, np.float32) if dataset.soft is None else dataset.soft
        for dataset in several
    ]
    return _stacked(there, spelled, findings, np.nan)


def _all_boxes(
    several: Sequence[RadiographDataset], spelled: list[list[str]], starts: Ints
) -> Boxes:
    """Return all boxes, in pixels of the size that is read."""
    size = min(dataset.size for dataset in several)
    renamed = [
        dict(zip(dataset.findings, own, strict=True))
        for dataset, own in zip(several, spelled, strict=True)
    ]
    return Boxes(
        np.concatenate([d.boxes.row + start for d, start in zip(several, starts, strict=False)]),
        np.array(
            [
                names.get(name, name)
                for dataset, names in zip(several, renamed, strict=True)
                for name in dataset.boxes.finding.tolist()
            ],
            dtype=str,
        ),
        np.concatenate([d.boxes.box * np.float32(size / d.size) for d in several]),
    )


def _told_apart(members: tuple[Member, ...], number: Ints, patients: Ints) -> Ints:
    """Return numbers of patients (N,) that are those of one source only.

    Raises `UsageError` for the same data twice, and where two members are of the same patients and
    nothing tells which is whose.
    """
    namespace = list(range(len(members)))  # of the patients' numbers
    for (first, one), (second, other) in combinations(enumerate(members), 2):
        pair = f"{one.folder} and {other.folder}"
        if one.sha256 == other.sha256 or one.folder.resolve() == other.folder.resolve():
            raise UsageError(f"{pair} are the same data.", "Name each data set once.")
        sources = one.manifest["source"], other.manifest["source"]
        if not same_patients(*sources):
            continue
        if not same_patient_numbers(*sources):
            kinds = " and ".join(source["kind"] for source in sources)
            raise UsageError(
                f"{pair} are made from the same radiographs ({kinds}), and nothing tells which "
                "patient of one is which of the other: patients of one's training split would be "
                "among those that validate or test.",
                "Train on one of them.",
            )
        namespace[second] = namespace[first]
    both = np.stack([np.array(namespace)[number], patients])
    return np.unique(both, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _refuse_patients_in_two_splits(merged: RadiographDataset) -> None:
    """Raise `UsageError` where data sets of the same patients split them differently."""
    splits, patients = merged.columns["split"], merged.columns["patient_id"]
    there = np.flatnonzero(splits != "")
    order = there[np.argsort(patients[there], kind="stable")]
    apart = (patients[order][1:] == patients[order][:-1]) & (
        splits[order][1:] != splits[order][:-1]
    )
    if apart.any():
        one, other = order[:-1][apart][0], order[1:][apart][0]
        folders = [merged.members[merged.member[row]].folder for row in (one, other)]
        found = len(np.unique(patients[order[1:][apart]]))
        raise UsageError(
            f"{count_of(found, 'patient is', 'patients are')} in different splits of data sets of "
            f"the same source; the first, {merged.source_patients[one]}, is in "
            f"{splits[one]} of {folders[0]} and in {splits[other]} of {folders[1]}.",
            "Prepare both with the same splits, or train on one of them.",
        )


def _shared_images(merged: RadiographDataset) -> tuple[str, ...]:
    """Return which members have images with the same pixels in the same split.

    Raises `UsageError` for those in different splits.
    """
    warnings = []
    rows = [np.flatnonzero(merged.member == number) for number in range(len(merged.members))]
    for first, second in combinations(range(len(rows)), 2):
        one, other = rows[first], rows[second]
        _, ours, theirs = np.intersect1d(
            merged.pixel_hash[one], merged.pixel_hash[other], return_indices=True
        )
        one, other = one[ours], other[theirs]
        splits = [merged.columns["split"][some] for some in (one, other)]
        apart = (splits[0] != splits[1]) & (splits[0] != "") & (splits[1] != "")
        folders = [merged.members[number].folder for number in (first, second)]
        if apart.any():
            names = [merged.columns["image_index"][some[apart]][0] for some in (one, other)]
            number = int(apart.sum())
            raise UsageError(
                f"{count_of(number, 'image is', 'images are')} (by pixel hash) in different splits "
                f"of {folders[0]} and {folders[1]}; the first is {names[0]} in "
                f"{splits[0][apart][0]} and {names[1]} in {splits[1][apart][0]}.",
                "Take these images out of one of them, or give them the same split.",
            )
        same = int((splits[0] == splits[1]).sum())
        if same:
            warnings.append(
                f"{count_of(same, 'image is', 'images are')} (by pixel hash) in both {folders[0]} "
                f"and {folders[1]}, in the same splits: they count twice."
            )
    return tuple(warnings)

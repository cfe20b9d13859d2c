"""Several prepared data sets as one: findings are the union, patients are told apart by source."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import Boxes, RadiographDataset, open_dataset
from deepchest_cli.data.findings import finding_key
from deepchest_cli.data.merging_checks import (
    refuse_patients_in_two_splits,
    refuse_unfit_members,
    shared_images,
    tell_patients_apart,
    unlike_members,
)
from deepchest_cli.errors import UsageError

Number = TypeVar("Number", np.uint8, np.float32)


def open_datasets(folders: Sequence[str]) -> RadiographDataset:
    """Open folders of shards, several as one; errors as in `open_dataset` and `merge_datasets`."""
    return merge_datasets([open_dataset(Path(folder)) for folder in folders])


def merge_datasets(several: Sequence[RadiographDataset]) -> RadiographDataset:
    """Return the images of several data sets, each of one folder, one data set after the other.

    Findings are the union, by the table of aliases, spelled as the first that has them; a label
    that a data set does not have is unknown. Images are read at the smallest stored size. Patients
    of two sources are two patients, unless both have the same radiograph of them. Raises
    `UsageError` for the same data twice, for a data set and another one made from it, and for
    images or patients that are in different splits of two data sets.
    """
    if len(several) == 1:
        return several[0]
    names = folder_names([dataset.folder for dataset in several])
    number = np.repeat(np.arange(len(several)), [len(dataset.labels) for dataset in several])
    spelled = _spelled_findings(several)
    findings = tuple(dict.fromkeys(name for own in spelled for name in own))
    members = tuple(
        replace(dataset.only, name=name, findings=tuple(own))
        for dataset, name, own in zip(several, names, spelled, strict=True)
    )
    refuse_unfit_members(members)
    starts = np.cumsum([0, *(len(dataset.labels) for dataset in several)])[:-1]
    columns = {
        name: np.concatenate([dataset.columns[name] for dataset in several])
        for name in several[0].columns
    }
    columns["source_patient_id"] = columns["patient_id"]
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
        starts=np.concatenate([d.starts + start for d, start in zip(several, starts, strict=True)]),
        boxes=_all_boxes(several, spelled, starts),
        soft=_all_soft(several, spelled, findings),
    )
    shared = shared_images(merged)
    merged.columns["patient_id"] = tell_patients_apart(merged, shared.groups)
    refuse_patients_in_two_splits(merged)
    return replace(merged, warnings=(*unlike_members(members), *shared.warnings))


def folder_names(folders: Sequence[Path | str]) -> list[str]:
    """Return the names of different folders, with as many of those above as tell them apart.

    None is `all`, which stands for all data sets together in a run's tables.
    """
    paths = [Path(folder).resolve().parts for folder in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = [str(Path(*parts[-depth:])) for parts in paths]
        if len(set(names)) == len(names) and "all" not in names:
            break
    return names


def _spelled_findings(several: Sequence[RadiographDataset]) -> list[list[str]]:
    """Return the findings of each data set as the first that has them spells them."""
    spelling: dict[str, str] = {}
    spelled = []
    for dataset in several:
        own = [spelling.setdefault(finding_key(name), name) for name in dataset.findings]
        for place, name in enumerate(own):
            if name in own[:place]:
                one, other = dataset.findings[own.index(name)], dataset.findings[place]
                raise UsageError(
                    f"{dataset.folder}: {one!r} and {other!r} are the same finding.",
                    "Prepare it with one of them: deepchest prepare --findings",
                )
        spelled.append(own)
    return spelled


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
    several: Sequence[RadiographDataset], spelled: list[list[str]], starts: NDArray[np.int64]
) -> Boxes:
    """Return all boxes, in pixels of the size that is read; unlabeled findings keep their names."""
    size = min(dataset.size for dataset in several)
    findings: list[str] = []
    for dataset, own in zip(several, spelled, strict=True):
        names = dict(zip(dataset.findings, own, strict=True))
        findings += [names.get(name, name) for name in dataset.boxes.finding.tolist()]
    return Boxes(
        np.concatenate([d.boxes.row + start for d, start in zip(several, starts, strict=True)]),
        np.array(findings, dtype=str),
        np.concatenate([d.boxes.box * np.float32(size / d.size) for d in several]),
    )

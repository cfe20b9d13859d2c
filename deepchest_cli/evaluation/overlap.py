"""Which scored images a model was made with: found by pixel hash, then by names and patients.

A checkpoint keeps hashes of its training and validation images, of the names of its training files
and of its patients (`SeenImages`). Pixels agree only between images that were stored alike; names
and patients also find an image that was resized otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.compatibility import (
    is_own,
    may_share_images,
    same_numbers,
    same_patients,
    split_changes,
)
from deepchest_cli.evaluation.overlap_text import ALLOW, counted
from deepchest_cli.evaluation.seen_images import seen_by
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.model.reference import (
    MOSTLY,
    SeenImages,
    number_of_name,
    number_of_patient,
    numbers_of,
)

Mask = NDArray[np.bool_]
MASKS = ("training", "validation", "named", "patients", "alike")
# of predictions in a file
UNCHECKED: dict[str, Any] = {
    "checked": None, "own_data": False, "numbered": False, **dict.fromkeys(MASKS, 0),
    "split_changes": [],
}  # fmt: skip


@dataclass(frozen=True)
class Overlap:
    """Which of N scored images a model, or any of several, was made with; masks are (N,)."""

    checked: bool  # False: neither a checkpoint nor its data tell which images it was made with
    own_data: bool  # the very data that the model was trained on
    numbered: bool | None  # whether patients could be compared; None: the sources share none
    training: Mask  # pixels of a training image
    validation: Mask  # pixels of a validation image
    named: Mask  # other pixels, but the name and the patient of a training image
    patients: Mask  # another image of a patient in training or validation
    alike: Mask  # other pixels, and only the name of a training image
    # settings in which the splits differ; a trained patient is there unnoticed unless `numbered`
    split_changes: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return counts instead of masks."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        counts = {name: int(values[name].sum()) for name in MASKS}
        return {**values, **counts, "split_changes": list(self.split_changes)}


def find_overlap(
    model: LoadedModel, dataset: RadiographDataset, rows: NDArray[np.int64], split: str
) -> Overlap:
    """Return which of the images in `rows` (N,) of a split the model was made with."""
    own = is_own(model.origin, dataset)
    changes = () if own else tuple(split_changes(model.origin, dataset, split))
    none = np.zeros(len(rows), dtype=bool)
    seen = seen_by(model, dataset)
    if seen is None:
        return Overlap(False, own, False, none, none, none, none, none, changes)
    pixels = numbers_of(dataset.pixel_hash[rows])
    training = np.isin(pixels, seen.training)
    validation = np.isin(pixels, seen.validation) & ~training
    if own:  # split by patient, and named by itself
        return Overlap(True, own, True, training, validation, none, none, none)
    trained, found = model.origin["source"], dataset.manifest["source"]
    stored = training | validation
    comparable = may_share_images(trained, found)
    name = _names(seen, dataset)[rows] & ~stored & comparable
    patient = _patients(seen, dataset) & comparable
    sure = np.full(len(rows), same_patients(trained, found))  # names are the source's own
    named = name & (sure | patient[rows])
    numbered = seen.patients is not None and (
        same_numbers(trained, found) or _agree(seen, dataset, patient)
    )
    others = patient[rows] & numbered & ~stored & ~named
    return Overlap(
        True,
        own,
        numbered if comparable else None,
        training,
        validation,
        named,
        others,
        name & ~named & ~others,
        changes,
    )


def _names(seen: SeenImages, dataset: RadiographDataset) -> Mask:
    """Return which images of a data set (N,) have the name of a training image."""
    names = dataset.columns["image_index"].tolist()
    if not seen.names_differ:
        return np.zeros(len(names), dtype=bool)
    return np.isin([number_of_name(name) for name in names], seen.names)


def _patients(seen: SeenImages, dataset: RadiographDataset) -> Mask:
    """Return which images of a data set (N,) have the number of a patient that was trained on."""
    numbers, places = np.unique(dataset.columns["patient_id"], return_inverse=True)
    if seen.patients is None or not dataset.manifest["source"].get("patients"):
        return np.zeros(len(places), dtype=bool)
    known = np.isin([number_of_patient(number) for number in numbers.tolist()], seen.patients)
    return np.asarray(known[places.reshape(-1)])


def _agree(seen: SeenImages, dataset: RadiographDataset, patient: Mask) -> bool:
    """Whether trained images in a data set of another source have the patients of training."""
    pixels = np.isin(
        numbers_of(dataset.pixel_hash), np.concatenate([seen.training, seen.validation])
    )
    both = pixels | (_names(seen, dataset) & patient)
    return bool(both.any()) and float(patient[both].mean()) >= MOSTLY


def refuse_overlap(overlap: Overlap, model: LoadedModel, dataset: RadiographDataset) -> None:
    """Raise `UsageError` where images or patients of other data than the model's own were seen."""
    if overlap.own_data:  # a split that is asked for by its name
        return
    found, changes = overlap.to_plain(), ", ".join(overlap.split_changes)
    said = counted(found)
    if said:
        raise UsageError(
            f"{model.path} was made with images or patients of {dataset.folder}"
            + (f", which is split otherwise ({changes})" if changes else "")
            + f". Of {count_of(len(overlap.training), 'image')} to score, {said}.",
            f"Score images that the model has not seen. {ALLOW}",
        )
    if changes and not overlap.numbered:
        raise UsageError(
            f"{dataset.folder} is split otherwise than the data that the model was trained on "
            f"({changes}): it may hold trained patients, and {model.path} does not tell which "
            "they are.",
            f"Evaluate on data of the split that the model was trained on. {ALLOW}",
        )


def joined(overlaps: list[Overlap]) -> Overlap:
    """Return what any of several models was made with."""
    masks = {name: np.any([getattr(one, name) for one in overlaps], axis=0) for name in MASKS}
    return Overlap(
        all(one.checked for one in overlaps),
        all(one.own_data for one in overlaps),
        _all_of(one.numbered for one in overlaps),
        **masks,
        split_changes=tuple(dict.fromkeys(c for one in overlaps for c in one.split_changes)),
    )


def _all_of(values: Iterable[bool | None]) -> bool | None:
    known = [value for value in values if value is not None]
    return all(known) if known else None

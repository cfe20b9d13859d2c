"""Which scored images a model was made with: found by pixel hash, then by names and patients.

A checkpoint keeps hashes of its training and validation images, of the names of its training files
and of its patients (`TrainingImages`). Pixels agree only between images that were stored alike;
names and patients also find an image that was resized otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.source_relations import (
    names_are_comparable,
    same_patient_numbers,
    same_patients,
)
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError, UsageError
from deepchest_cli.evaluation.compatibility import (
    UNPUBLISHED,
    DataSet,
    is_training_data_set,
    split_changes,
)
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.model.fold_runs import folds_in
from deepchest_cli.model.reference import (
    MIN_UNIQUE_NAMES,
    TrainingImages,
    name_hash,
    patient_hash,
    short_hashes,
)

Mask = NDArray[np.bool_]
Counts = Mapping[str, Any]  # of `Overlap.to_plain`
MASKS = (
    "training_images", "validation_images", "same_name_and_patient", "shared_patients",
    "same_name_only",
)  # fmt: skip
# of predictions in a file
UNCHECKED: dict[str, Any] = {
    "pixel_hashes_compared": None, "is_training_data_set": False, "patients_compared": False,
    **dict.fromkeys(MASKS, 0), "split_changes": [], "compared_by_name": [],
}  # fmt: skip
ALLOW = "With --allow-overlap they are scored all the same, and the results say so."


@dataclass(frozen=True)
class Overlap:
    """Which of N scored images a model, or any of several, was made with; masks are (N,)."""

    pixel_hashes_compared: bool  # False: neither the checkpoint nor its data hold any
    is_training_data_set: bool  # the very data that the model was trained on
    patients_compared: bool | None  # None: the sources share no patients
    training_images: Mask  # pixels of a training image
    validation_images: Mask  # pixels of a validation image
    same_name_and_patient: Mask  # as a training image, but other pixels
    shared_patients: Mask  # another image of a patient in training or validation
    same_name_only: Mask  # as a training image, but other pixels and perhaps another patient
    # settings in which the splits differ; without `patients_compared` trained patients may be there
    split_changes: tuple[str, ...] = ()
    compared_by_name: tuple[str, ...] = ()  # data sets of training that are stored at another size

    def to_plain(self) -> dict[str, Any]:
        """Return counts instead of masks."""
        counts = {name: int(getattr(self, name).sum()) for name in MASKS}
        names = {n: list(getattr(self, n)) for n in ("split_changes", "compared_by_name")}
        return {**vars(self), **counts, **names}


def training_images_of(dataset: RadiographDataset, number: int = 0) -> TrainingImages:
    """Return the images of a member of the data set that a model is trained on."""
    training, validation = (
        rows[dataset.member[rows] == number]
        for rows in (dataset.rows("train"), dataset.rows("validation"))
    )
    names = dataset.columns["image_index"][training].tolist()
    both = np.concatenate([training, validation])
    patients = np.unique(dataset.source_patients[both]).tolist()
    source = dataset.members[number].manifest["source"]
    named = source.get("patients")  # else each image is a patient of its own
    return TrainingImages(
        training=np.unique(short_hashes(dataset.pixel_hash[training])),
        validation=np.unique(short_hashes(dataset.pixel_hash[validation])),
        names=_sorted(name_hash(name) for name in names),
        patients=_sorted(patient_hash(patient) for patient in patients) if named else None,
    )


def _sorted(hashes: Iterable[int]) -> NDArray[np.int64]:
    return np.array(sorted(set(hashes)), dtype=np.int64)


def images_of_model(
    model: LoadedModel, number: int, scored: RadiographDataset
) -> TrainingImages | None:
    """Return the images of a data set that a model was made with; None where they are not known.

    A run leaves them in its best checkpoint when it ends; for others its data are read, where they
    still are what they were, or are the `scored` ones.
    """
    images, trained = model.training_images, model.data_sets[number]
    kept = None if images is None else TrainingImages.from_plain(images[number])
    own = is_training_data_set(trained, scored)
    if kept is not None and (own or kept.patients is not None):
        return kept
    try:
        dataset = scored if own else open_dataset(Path(trained["data"]))
    except (DeepChestError, TypeError):
        return kept
    return training_images_of(dataset) if is_training_data_set(trained, dataset) else kept


def find_overlap(
    model: LoadedModel, dataset: RadiographDataset, rows: NDArray[np.int64], split: str
) -> Overlap:
    """Return which of the images in `rows` (N,) of a split the model was made with."""
    overlaps = [
        _overlap_with(model, number, dataset, rows, split) for number in range(len(model.data_sets))
    ]
    # the splits of several were compared before the training
    own = [one for one in overlaps if one.is_training_data_set]
    return union_of(own or overlaps)


def _overlap_with(
    model: LoadedModel,
    number: int,
    dataset: RadiographDataset,
    rows: NDArray[np.int64],
    split: str,
) -> Overlap:
    """Return which of the images in `rows` (N,) are of a data set that the model was made with."""
    origin = model.data_sets[number]
    own, published = is_training_data_set(origin, dataset), "published" in model.origin
    changes = () if own else tuple(split_changes(origin, dataset, split, published))
    none: dict[str, Any] = dict.fromkeys(MASKS, np.zeros(len(rows), dtype=bool))
    images = images_of_model(model, number, dataset)
    if images is None:
        return Overlap(False, own, False, **none, split_changes=changes)
    pixels = short_hashes(dataset.pixel_hash[rows])
    training = np.isin(pixels, images.training)
    validation = np.isin(pixels, images.validation) & ~training
    if own:  # split by patient, and each image has a name of its own
        found = {**none, "training_images": training, "validation_images": validation}
        return Overlap(True, own, True, **found, split_changes=())
    trained, scored = origin["source"], dataset.manifest["source"]
    stored = training | validation
    comparable = names_are_comparable(trained, scored)
    name = _with_training_name(images, dataset)[rows] & ~stored & comparable
    patient = _of_training_patient(images, dataset) & comparable
    sure = np.full(len(rows), same_patients(trained, scored))  # names are the source's own
    same = name & (sure | patient[rows])
    compared = images.patients is not None and (
        same_patient_numbers(trained, scored) or _patients_agree(images, dataset, patient)
    )
    others = patient[rows] & compared & ~stored & ~same
    return Overlap(
        pixel_hashes_compared=True,
        is_training_data_set=own,
        patients_compared=compared if comparable else None,
        training_images=training,
        validation_images=validation,
        same_name_and_patient=same,
        shared_patients=others,
        same_name_only=name & ~same & ~others,
        split_changes=changes,
        compared_by_name=() if _stored_alike(origin, dataset) else (str(origin["name"]),),
    )


def _stored_alike(origin: DataSet, dataset: RadiographDataset) -> bool:
    return bool(origin["settings"].get("size", dataset.size) == dataset.size)


def _with_training_name(images: TrainingImages, dataset: RadiographDataset) -> Mask:
    """Return which images of a data set (N,) have the name of a training image."""
    names = dataset.columns["image_index"].tolist()
    if not images.names_differ:
        return np.zeros(len(names), dtype=bool)
    return np.isin([name_hash(name) for name in names], images.names)


def _of_training_patient(images: TrainingImages, dataset: RadiographDataset) -> Mask:
    """Return which images of a data set (N,) have the number of a patient that was trained on."""
    numbers, places = np.unique(dataset.columns["patient_id"], return_inverse=True)
    if images.patients is None or not dataset.manifest["source"].get("patients"):
        return np.zeros(len(places), dtype=bool)
    known = np.isin([patient_hash(number) for number in numbers.tolist()], images.patients)
    return np.asarray(known[places.reshape(-1)])


def _patients_agree(images: TrainingImages, dataset: RadiographDataset, patient: Mask) -> bool:
    """Whether trained images in a data set of another source have the patients of training."""
    kept = np.concatenate([images.training, images.validation])
    pixels = np.isin(short_hashes(dataset.pixel_hash), kept)
    both = pixels | (_with_training_name(images, dataset) & patient)
    return bool(both.any()) and float(patient[both].mean()) >= MIN_UNIQUE_NAMES


def refuse_overlap(overlap: Overlap, model: LoadedModel, dataset: RadiographDataset) -> None:
    """Raise `UsageError` where a model was made with images or patients of other data."""
    if overlap.is_training_data_set:  # a split that is asked for by its name
        return
    shared, changes = shared_images(overlap.to_plain()), ", ".join(overlap.split_changes)
    whole = model.path.parent.parent
    hashes = [one["sha256"] for one in model.data_sets]
    if folds_in(whole) is not None and dataset.sha256 in hashes:
        raise UsageError(
            f"The models of {whole} were trained on patients of {dataset.folder}: each patient of "
            "it was in the training of most folds.",
            "Leave --data out to score each image by the model that has not seen its patient: "
            f"deepchest evaluate --model {quote(str(whole))}. {ALLOW}",
        )
    if shared:
        raise UsageError(
            f"{model.path} was made with images or patients of {dataset.folder}"
            + (f", which is split otherwise ({changes})" if changes else "")
            + f". Of {count_of(len(overlap.training_images), 'image')} to score, {shared}.",
            f"Score images that the model was not made with. {ALLOW}",
        )
    unpublished = UNPUBLISHED in overlap.split_changes  # never to be known: a warning says so
    if changes and not overlap.patients_compared and not unpublished:
        raise UsageError(
            f"{dataset.folder} is split otherwise than the data that the model was trained on "
            f"({changes}): it may hold trained patients, and {model.path} does not tell which "
            "they are.",
            f"Evaluate on data of the split that the model was trained on. {ALLOW}",
        )


def union_of(overlaps: list[Overlap]) -> Overlap:
    """Return what any of several models was made with."""
    masks = {name: np.any([getattr(one, name) for one in overlaps], axis=0) for name in MASKS}
    compared = [c for one in overlaps if (c := one.patients_compared) is not None]
    return Overlap(
        pixel_hashes_compared=all(one.pixel_hashes_compared for one in overlaps),
        is_training_data_set=all(one.is_training_data_set for one in overlaps),
        patients_compared=all(compared) if compared else None,
        **masks,
        split_changes=tuple(dict.fromkeys(c for one in overlaps for c in one.split_changes)),
        compared_by_name=tuple(dict.fromkeys(n for one in overlaps for n in one.compared_by_name)),
    )


def shared_images(counts: Counts) -> str:
    """Return an overlap's counts in words; empty where no image and no patient is shared."""
    texts = {
        "training_images": (
            "is a training image (by pixel hash)",
            "are training images (by pixel hash)",
        ),
        "validation_images": (
            "is a validation image (by pixel hash)",
            "are validation images (by pixel hash)",
        ),
        "same_name_and_patient": (
            "has the name of a training image of the same patient, in other pixels",
            "have the names of training images of the same patients, in other pixels",
        ),
        "shared_patients": (
            "shows a patient of the training or validation data",
            "show patients of the training or validation data",
        ),
    }
    return ", ".join(count_of(counts[k], *forms) for k, forms in texts.items() if counts[k])


def overlap_warning(counts: Counts, images: int, split: str) -> str:
    """Return the warning beside every result; empty where images and patients are new."""
    own, shared = counts["is_training_data_set"], shared_images(counts)
    name_only = counts["same_name_only"]
    cases = [
        (
            own and split == "train",
            "These are training images of the model: the results measure what it memorized, not "
            "its performance on new radiographs.",
        ),
        (
            own and split == "validation",
            "These are validation images of the model, by which its epoch, thresholds or "
            "calibration were chosen: the results are optimistic.",
        ),
        (
            shared,
            f"Overlap with the model's own data: of {count_of(images, 'image')}, {shared}. The "
            "results are optimistic.",
        ),
        (
            UNPUBLISHED in counts["split_changes"],
            "The model was trained by others on images of this very source, by a split that they "
            "did not publish: trained patients are probably among these. The results are "
            "optimistic, and no external validation.",
        ),
        (
            counts["split_changes"] and not counts["patients_compared"],
            "The data are split otherwise than those that the model was trained on "
            f"({', '.join(counts['split_changes'])}): trained patients may be among them, and the "
            "results are optimistic then.",
        ),
        (
            counts["pixel_hashes_compared"] is False and not own,
            "Whether the model was trained on these images could not be checked: its checkpoint "
            "keeps no hashes of its training images, and its data are not there.",
        ),
        (
            name_only,
            f"{count_of(name_only, 'image has', 'images have')} the name of a training image and "
            "other pixels: they may be the same radiographs, resized otherwise.",
        ),
    ]
    return next((text for holds, text in cases if holds), "")


def no_overlap_note(counts: Counts) -> str:
    """Return what was compared where nothing was found; empty for the model's own data."""
    if counts["pixel_hashes_compared"] is None:
        return (
            "Whether the model was trained on these images is not known: files of predictions do "
            "not say."
        )
    if counts["is_training_data_set"] or not counts["pixel_hashes_compared"]:
        return ""
    patients = {
        True: ", and none shows a patient of its data",
        False: "; whether they share patients is not known: the sources number them differently",
        None: ", and they are of another source",
    }[counts["patients_compared"]]
    others = ""
    if resized := " and ".join(counts["compared_by_name"]):
        others = (
            f" Images of {resized} are stored at another size, and were compared by name and "
            "patient instead."
        )
    return (
        "By pixel hash, none of the scored images is a training or validation image of the model"
        f"{patients}.{others}"
    )

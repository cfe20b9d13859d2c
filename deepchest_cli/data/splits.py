"""Parts of a data set, always by patient."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import DeepChestError

PARTS = ("train", "validation", "test")


def draw_patients(
    patient_ids: NDArray[np.int64], labels: NDArray[np.uint8], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Return which rows (N,) belong to a random share of the patients, stratified by rarity.

    patient_ids: (N,); labels: (N, T). Each patient counts under the rarest of its findings, and
    systematic sampling takes the same share of every such group, so that a rare finding is not
    left to luck. At least one patient is drawn and one is left when `fraction` is above zero.
    """
    patients, rows = np.unique(patient_ids, return_inverse=True)
    if fraction <= 0 or len(patients) < 2:
        return np.zeros(len(patient_ids), dtype=bool)
    order = _by_rarest_finding(rows, len(patients), labels, seed)
    wanted = min(max(round(fraction * len(patients)), 1), len(patients) - 1)
    offset = np.random.default_rng([seed, 1]).random()
    positions = ((np.arange(wanted) + offset) * len(patients) / wanted).astype(np.int64)
    drawn = np.zeros(len(patients), dtype=bool)
    drawn[order[positions]] = True
    return np.asarray(drawn[rows])


def _by_rarest_finding(
    rows: NDArray[np.int64], patients: int, labels: NDArray[np.uint8], seed: int
) -> NDArray[np.int64]:
    """Return patients in random order, then sorted stably by the rarity of their rarest finding."""
    rarity = np.argsort(np.argsort(labels.sum(axis=0), kind="stable"), kind="stable")
    per_image = np.where(labels == 1, rarity, labels.shape[1]).min(axis=1)
    per_patient = np.full(patients, labels.shape[1])
    np.minimum.at(per_patient, rows, per_image)
    shuffled = np.random.default_rng([seed, 0]).permutation(patients)
    return np.asarray(shuffled[np.argsort(per_patient[shuffled], kind="stable")])


def random_split(
    patient_ids: NDArray[np.int64],
    labels: NDArray[np.uint8],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Return the part of each row (N,): test from all patients, validation from the others."""
    test = draw_patients(patient_ids, labels, test_fraction, seed)
    return _with_validation(patient_ids, labels, test, validation_fraction, seed)


def fold_split(
    patient_ids: NDArray[np.int64],
    labels: NDArray[np.uint8],
    fold: int,
    folds: int,
    validation_fraction: float,
) -> NDArray[np.str_]:
    """Return the part of each row (N,) in fold number `fold` of `folds`, counted from 0.

    Each patient is tested in exactly one fold; folds are alike in their rare findings, and the
    same whenever they are asked for.
    """
    patients, rows = np.unique(patient_ids, return_inverse=True)
    fold_of = np.empty(len(patients), dtype=np.int64)
    fold_of[_by_rarest_finding(rows, len(patients), labels, 0)] = np.arange(len(patients)) % folds
    return _with_validation(patient_ids, labels, fold_of[rows] == fold, validation_fraction, fold)


def official_split(
    image_index: Sequence[str],
    patient_ids: NDArray[np.int64],
    labels: NDArray[np.uint8],
    lists: Mapping[str, frozenset[str]],
    validation_fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    """Return the part of each row (N,) by NIH's lists; rows in neither list get an empty string.

    `lists` holds the image names under "train_val" and "test". NIH has no validation list: it is
    carved from train_val by patient.
    """
    test = np.array([name in lists["test"] for name in image_index], dtype=bool)
    listed = test | np.array([name in lists["train_val"] for name in image_index], dtype=bool)
    _refuse_shared_patients(patient_ids[test], patient_ids[listed & ~test])
    parts = np.full(len(image_index), "", dtype="<U10")
    parts[listed] = _with_validation(
        patient_ids[listed], labels[listed], test[listed], validation_fraction, seed
    )
    return parts


def _with_validation(
    patient_ids: NDArray[np.int64],
    labels: NDArray[np.uint8],
    test: NDArray[np.bool_],
    fraction: float,
    seed: int,
) -> NDArray[np.str_]:
    parts = np.where(test, "test", "train").astype("<U10")
    rest = np.flatnonzero(~test)
    drawn = draw_patients(patient_ids[rest], labels[rest], fraction, seed + 1)
    parts[rest[drawn]] = "validation"
    return parts


def _refuse_shared_patients(one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    shared = np.intersect1d(one, other)
    if len(shared):
        raise DeepChestError(
            f"{len(shared)} patients stand in both split lists, the first is {shared[0]}.",
            "Restore NIH's own train_val_list.txt and test_list.txt.",
        )

"""Splits of a data set, always by patient."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.text import count_of
from deepchest_cli.errors import DeepChestError

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Names = NDArray[np.str_]
SPLITS = ("train", "validation", "test")


def draw_patients(patient_ids: Ints, labels: Labels, fraction: float, seed: int) -> Mask:
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


def _by_rarest_finding(rows: Ints, patients: int, labels: Labels, seed: int) -> Ints:
    """Return patients in random order, then sorted stably by the rarity of their rarest finding."""
    rarity = np.argsort(np.argsort(labels.sum(axis=0), kind="stable"), kind="stable")
    per_image = np.where(labels == 1, rarity, labels.shape[1]).min(axis=1)
    per_patient = np.full(patients, labels.shape[1])
    np.minimum.at(per_patient, rows, per_image)
    shuffled = np.random.default_rng([seed, 0]).permutation(patients)
    return np.asarray(shuffled[np.argsort(per_patient[shuffled], kind="stable")])


def random_split(
    patient_ids: Ints, labels: Labels, validation_fraction: float, test_fraction: float, seed: int
) -> Names:
    """Return the split of each row (N,): test from all patients, validation from the others."""
    test = draw_patients(patient_ids, labels, test_fraction, seed)
    return _with_validation(patient_ids, labels, test, validation_fraction, seed)


def fold_split(
    patient_ids: Ints, labels: Labels, fold: int, folds: int, validation_fraction: float, seed: int
) -> Names:
    """Return the split of each row (N,) in fold number `fold` of `folds`, counted from 0.

    Each patient is tested in exactly one fold, and folds are alike in their rare findings. Each
    seed has a partition into folds of its own, the same whenever it is asked for.
    """
    patients, rows = np.unique(patient_ids, return_inverse=True)
    fold_of = np.empty(len(patients), dtype=np.int64)
    fold_of[_by_rarest_finding(rows, len(patients), labels, seed)] = (
        np.arange(len(patients)) % folds
    )
    test, own_seed = fold_of[rows] == fold, seed * folds + fold  # validation patients of its own
    return _with_validation(patient_ids, labels, test, validation_fraction, own_seed)


def listed_split(
    listed: Names, patient_ids: Ints, labels: Labels, validation_fraction: float, seed: int
) -> Names:
    """Return the split of each row (N,) by a list: NIH's, another source's own, or the user's.

    `listed` has train_val, train, validation, test or nothing for each row; rows with nothing stay
    without a split. Without a validation split in the list, one is carved from train_val (or train)
    by patient. Raises `DeepChestError` where a patient stands in two splits.
    """
    listed = np.where(listed == "train_val", "train", listed).astype("<U10")
    _refuse_shared_patients(listed, patient_ids)
    if (listed == "validation").any():
        return listed
    splits = np.full(len(listed), "", dtype="<U10")
    there = listed != ""
    rest = (patient_ids[there], labels[there], listed[there] == "test")
    splits[there] = _with_validation(*rest, validation_fraction, seed)
    return splits


def _with_validation(
    patient_ids: Ints, labels: Labels, test: Mask, fraction: float, seed: int
) -> Names:
    splits = np.where(test, "test", "train").astype("<U10")
    rest = np.flatnonzero(~test)
    drawn = draw_patients(patient_ids[rest], labels[rest], fraction, seed + 1)
    splits[rest[drawn]] = "validation"
    return splits


def _refuse_shared_patients(listed: Names, patient_ids: Ints) -> None:
    there = np.flatnonzero(listed != "")
    apart = divided_groups(patient_ids[there], listed[there])
    if apart:
        one, other = there[list(apart[0])]
        raise DeepChestError(
            f"{count_of(len(apart), 'patient stands', 'patients stand')} in two splits; "
            f"the first, {patient_ids[one]}, in {listed[one]} and in {listed[other]}.",
            "Restore the lists, or split by patient at random: --split-scheme random",
        )


def divided_groups(groups: NDArray[Any], values: NDArray[Any]) -> list[tuple[int, int]]:
    """Return two rows with different values (N,) of each group (N,) that has several, in order."""
    order = np.argsort(groups, kind="stable")
    same = groups[order][1:] == groups[order][:-1]
    apart = np.flatnonzero(same & (values[order][1:] != values[order][:-1]))
    _, first = np.unique(groups[order[apart]], return_index=True)
    return [(int(order[at]), int(order[at + 1])) for at in apart[first]]

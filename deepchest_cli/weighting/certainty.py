"""How far a signal may be from its true value, from how many patients it was measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PatientCounts:
    """How many patients of a split have a label of a kind, (T,) each.

    Radiographs of one patient resemble each other: a patient counts once, however many there are,
    and among the positive and the negative ones where it has both.
    """

    known: Tensor
    positive: Tensor  # with at least one positive label
    negative: Tensor  # with at least one negative label

    @classmethod
    def of(cls, labels: Tensor, known: Tensor, patients: Tensor | None = None) -> "PatientCounts":
        """Count the patients of labels and label mask (N, T).

        patients: (N,), a whole number for each; without it, each radiograph is of another one.
        """
        positive, known = labels > 0, known.bool()
        kinds = torch.stack([known, known & positive, known & ~positive])
        if patients is not None:
            numbers, place = torch.unique(patients, return_inverse=True)
            images = kinds.new_zeros(3, len(numbers), kinds.shape[2], dtype=torch.int64)
            kinds = images.index_add_(1, place, kinds.long()) > 0
        return cls(*kinds.sum(dim=1).cpu())


def accuracy_error(accuracy: Tensor, patients: PatientCounts) -> Tensor:
    """Return the standard error (T,) of a share a_i of n_i patients, sqrt(a_i (1 - a_i) / n_i)."""
    return (accuracy * (1 - accuracy) / patients.known.to(accuracy)).sqrt()


def auroc_error(auroc: Tensor, patients: PatientCounts) -> Tensor:
    """Return the standard error (T,) of an AUROC A (Hanley and McNeil 1982, Radiology 143).

    With m positives and n negatives, Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A):
        sqrt((A (1 - A) + (m - 1) (Q1 - A^2) + (n - 1) (Q2 - A^2)) / (m n))
    """
    positive, negative = patients.positive.to(auroc), patients.negative.to(auroc)
    both_above, both_below = auroc / (2 - auroc), 2 * auroc.square() / (1 + auroc)
    variance = auroc * (1 - auroc) + (positive - 1) * (both_above - auroc.square())
    variance = variance + (negative - 1) * (both_below - auroc.square())
    return (variance.clamp(min=0) / (positive * negative)).sqrt()


STANDARD_ERRORS: Mapping[str, Callable[[Tensor, PatientCounts], Tensor]] = {
    "accuracy": accuracy_error,
    "auroc": auroc_error,
}

"""The results of an epoch, collected step by step in a training loop of one's own."""

import torch
import torch.distributed as dist
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import Performance
from deepchest_cli.weighting.certainty import PatientCounts
from deepchest_cli.weighting.losses import split_mask
from deepchest_cli.weighting.signals import SIGNALS, SPLITS, measure

# logits, labels and label mask, (N, T) each; and the patients (N,), where they are given
Tables = tuple[Tensor, ...]


class EpochResults:
    """Collects logits and labels, on their device, and measures what weighters ask for.

    >>> epoch = EpochResults()
    >>> epoch.add(logits, labels)  # in each step
    >>> weighter.end_epoch(epoch.performance())
    """

    def __init__(self) -> None:
        self.steps: dict[str, list[Tables]] = {split: [] for split in SPLITS}

    def add(
        self,
        logits: Tensor,
        labels: Tensor,
        known: Tensor | None = None,
        split: str = "train",
        patients: Tensor | None = None,
    ) -> None:
        """Add a batch (B, T) of the split train or validation.

        known: the label mask; without one, a label that is NaN is unknown.
        patients: (B,), a whole number for each, for weighters that count every patient once;
            without it, each radiograph is of another one.

        Raises `UsageError` for another split, where the shapes differ, and where patients are
        given of some batches only.
        """
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if known is None:
            labels, known = split_mask(labels)
        if not logits.shape == labels.shape == known.shape or logits.ndim != 2:
            shapes = ", ".join(str(tuple(table.shape)) for table in (logits, labels, known))
            raise UsageError(
                f"Logits, labels and label mask should be (B, T) each. Found {shapes}."
            )
        mask = known.to(torch.bool, copy=True)
        step: Tables = (logits.detach().float().clone(), labels > 0, mask)
        if patients is not None:
            if patients.shape != logits.shape[:1]:
                found = tuple(patients.shape)
                raise UsageError(f"Patients should be ({len(logits)},), one a row. Found {found}.")
            step = (*step, patients.to(logits.device, copy=True))
        steps = self.steps[split]
        if steps and len(steps[0]) != len(step):
            raise UsageError(
                f"Only some batches of the split {split} have patients.",
                "Give them with every one.",
            )
        steps.append(step)

    def performance(self) -> Performance:
        """Return the metrics of both splits, and begin the next epoch.

        Every signal of the weighters is there, by its name with underscores, where something was
        added: accuracy, balanced_accuracy, f1, auroc, average_precision, loss and
        normalized_cross_entropy. Where torch has several processes, the metrics are those of the
        results of all of them, and all have to ask.
        """
        tables = {split: self._joined(split) for split in SPLITS}
        self.steps = {split: [] for split in SPLITS}
        metrics = {split: _metrics(table) for split, table in tables.items()}
        patients = {split: PatientCounts.of(*table[1:]) for split, table in tables.items() if table}
        return Performance(metrics["train"], metrics["validation"], patients)

    def _joined(self, split: str) -> Tables | None:
        """Return the tables of all steps and processes; None where there are none."""
        steps = self.steps[split]
        joined = [torch.cat(column) for column in zip(*steps, strict=True)]
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            gathered: list[list[Tensor]] = [[]] * dist.get_world_size()
            dist.all_gather_object(gathered, [table.cpu() for table in joined])
            joined = [torch.cat(column) for column in zip(*filter(None, gathered), strict=True)]
        return tuple(joined) or None


def _metrics(tables: Tables | None) -> dict[str, Tensor]:
    if tables is None:
        return {}
    return {name.replace("-", "_"): measure(name, *tables[:3]).cpu() for name in SIGNALS}
